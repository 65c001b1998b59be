/// \file
/// From published checkpoints to `.quern` and back: all that the program needs of the converter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quern/adapter.h"
#include "quern/model.h"

namespace quern::convert {

/// An adapter file and how much of it (quern/adapter.h).
struct AdapterFile {
  std::string path;
  float weight = 1.0F;
};

struct ConvertOptions {
  /// "keep" (each tensor as its source has it), an encoding's name (`q4_1`, `bf16`, `qr4`), or a
  /// preset by bits (`q8` … `q3`): the native encoding of so many bits; where there is time to
  /// measure (`calibration_text`, `observe`), the best choice for every matrix in a file of no more
  /// than that size, `q3` aside, below which there is nothing to choose. Vectors (norms, biases)
  /// stay float32.
  std::string encoding = "keep";
  /// Instead of one encoding for all matrices: the whole file, or the weights of all matrices
  /// together (embedding and output included), in no more than this; 0: not asked. At most one.
  std::uint64_t target_bytes = 0;
  double target_bits = 0;
  /// A file on which the model is observed, so that codes have the least error of what comes out;
  /// empty: none (but where a size is asked for, a decoder is observed on what it writes). Needs a
  /// build with OpenBLAS.
  std::string calibration_text;
  /// Looks at the model where there is no calibration text either: a decoder is observed on what it
  /// writes itself, and a preset is a choice then too. Minutes in place of seconds.
  bool observe = false;
  /// Second moments of one matrix's inputs that calibration may hold; where there are more, codes
  /// are fitted by the inputs' squares column by column, with a warning.
  std::uint64_t most_moment_bytes = std::uint64_t{1} << 30;
  /// Made part of the weights, which are re-encoded where they change. The source is then opened as
  /// a model too, in memory where it is a foreign file. Not together with a target, a calibration
  /// or an evaluation, which look at the source: those are for a second conversion.
  std::vector<AdapterFile> adapters;
  std::string evaluation_text;  ///< A file on which the result is compared with the source.
  /// Leaves out tensors that nothing in the architecture uses, with a warning. Else they are an
  /// error: a bias, say, that the answers would lack.
  bool ignore_unused = false;
  bool self_test = true;        ///< Writes the section that `verify` replays.
  /// Continues what a killed or cancelled run to this output left, where there is something: the
  /// result has the same bits. It must have had the same options (but for `threads`) and source
  /// files of the same size and time, else it is kMismatch naming what differs.
  bool resume = false;
  /// Whether a run that `progress` cancels leaves what is finished for `resume`. A killed one does.
  bool keep_cancelled = false;
  int threads = 0;    ///< 0: usable_cores().
  Progress progress;  ///< Bytes of source weights done and in all.
};

/// One tensor of the plan.
struct PlannedTensor {
  std::string name, source;  ///< Canonical name; the source's name(s).
  std::vector<std::uint64_t> shape;
  std::string source_encoding;
  Encoding encoding;
  std::uint64_t source_bytes = 0, bytes = 0;
  /// Of what was quantized, ‖W − V‖ / ‖W‖ and, where inputs x were observed, the same of what comes
  /// out, √(Σ|(W − V)x|² / Σ|Wx|²). Known once it is written.
  std::optional<double> relative_error = {}, weighted_error = {};
  /// Of a source that was quantized before: the relative error that it had already, as its own
  /// report says, else as its encoding has with normally distributed weights.
  std::optional<double> source_error = {};
  bool source_error_is_estimate = false;
  std::string transform;  ///< Empty, or what is done: "rope permutation", "add one", …
};

struct ConvertPlan {
  std::string architecture, source_kind;  ///< "llama"; "gguf", "safetensors", "quern".
  std::vector<PlannedTensor> tensors;
  std::vector<std::string> warnings;  ///< E.g. parts of the source that are left out.
  /// Of the file; before it is written, without the sections behind the data (self-test, report).
  std::uint64_t output_bytes = 0;
  double bits_per_weight = 0;
};

struct ConvertReport {
  ConvertPlan plan;
  double seconds = 0;
  std::uint64_t weights_hash = 0;
  std::string quality_json;         ///< The report that was stored; empty: nothing was quantized.
  std::size_t resumed_tensors = 0;  ///< That an interrupted run had finished.
};

/// Any readable model → `.quern`, or GGUF where `output` ends in ".gguf". Streams: memory is
/// bounded by the largest tensor. Writes to a temporary file, syncs, renames; the input is never
/// touched, and output == input is refused. A run that is killed can be continued (`resume`); what
/// it left beside the output, under a name that begins with ".quern-", goes with the next run.
/// Errors: as the readers', kUnsupported for an unknown architecture, encoding or configuration
/// value by name, or for tensors that it uses nowhere, kMissing and kMismatch naming the tensor.
Result<ConvertReport> convert(const std::string& source, const std::string& output,
                              const ConvertOptions& options = {});

/// What `convert` would do; writes nothing. Reads headers only, unless a size is asked for: then
/// the weights are measured too.
Result<ConvertPlan> plan(const std::string& source, const std::string& output,
                         const ConvertOptions& options = {});

/// Opens a `.quern`, `.gguf`, `.safetensors` file, a Hugging Face directory or (vocabulary only) a
/// `tokenizer.json`: the last four are converted into memory by the code of `convert`.
Result<Model> open_any(const std::string& path, const ModelOptions& options = {});

/// Opens an adapter for `base`: a PEFT directory (LoRA, rsLoRA, DoRA, IA3) or its
/// adapter_model.safetensors, a GGUF adapter, a `.quern` file of convert_adapter, or a
/// `.safetensors` file of vectors under their names in the base's checkpoint (BitFit). Errors:
/// kMismatch naming the tensor and both shapes where it is another model's; kUnsupported naming a
/// setting that quern does not implement.
Result<Adapter> open_adapter(const std::string& path, const Model& base);

/// The same as a `.quern` file, which Adapter::open maps: for hosts without the converter. DoRA's
/// factors are those for this base's own codes. Errors: as open_adapter's; kIo.
Status convert_adapter(const std::string& path, const Model& base, const std::string& output);

/// Everything that `inspect` shows of any readable file, as one JSON text (sections, configuration,
/// tokenizer, template, tensors with `tensors`, quality report, hashes).
Result<std::string> describe(const std::string& path, bool tensors);

}  // namespace quern::convert
