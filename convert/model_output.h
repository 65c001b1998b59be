/// \file
/// The parts of an output that are no tensors, and the writers for both formats.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "convert/resumable_output.h"
#include "convert/source_model.h"
#include "convert/tensor_plan.h"
#include "convert/tensor_stream.h"
#include "formats/atomic_file.h"
#include "formats/gguf_writer.h"
#include "formats/quern_writer.h"
#include "quern/executor.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Everything of a `.quern` file that is known before its tensors.
struct QuernSections {
  std::string config, chat_template, generation;  ///< Empty: left out (but for config).
  std::vector<std::byte> tokenizer;
};
/// \param encoding the policy's name, for the provenance.
Result<QuernSections> make_quern_sections(const SourceModel& source, const std::string& encoding);

/// A writer with everything declared and nothing written yet: it knows the size of the file.
Result<formats::QuernWriter> prepare_quern(const QuernSections& sections, const ModelPlan& plan,
                                           formats::ByteSink& sink);

/// The source as another policy would convert it, opened from memory.
Result<Model> open_in_memory(const SourceModel& source, const EncodingPolicy& policy,
                             const std::shared_ptr<Executor>& executor);

/// As open_any. \param ignore_unused leaves out tensors that the architecture uses nowhere.
Result<Model> open_model(const std::string& path, const ModelOptions& options, bool ignore_unused);

/// The whole container in memory.
Result<formats::MemoryImage> write_into_memory(const SourceModel& source, const ModelPlan& plan,
                                               Executor& executor);

/// A tensor of zeros.
struct GgufZeros {
  std::string name;
  std::vector<std::uint64_t> ne;  ///< Row length first.
  Encoding encoding;              ///< A float.
};

/// Everything of a GGUF file that is no weight: the configuration in GGUF's keys, the tokenizer.
struct GgufSections {
  Config metadata;  ///< In the order of keys; lists are arrays.
  /// Tensors that stand in the configuration here (rotary factors), by name.
  std::vector<std::pair<std::string, std::vector<float>>> tensors;
  /// Tensors of zeros that GGUF asks for and nothing reads.
  std::vector<GgufZeros> zeros;
  std::optional<formats::TokenizerSpec> tokenizer;
  std::string chat_template;
  std::uint64_t report_room = 0;  ///< Bytes kept for the quality report; 0: there will be none.
};
/// The key of the quality report in a GGUF file: a string, the JSON of `QREP` and blanks.
inline constexpr std::string_view kGgufReportKey = "quern.quality_report";
/// Errors: those of the architecture; kUnsupported where GGUF has no words for the model.
Result<GgufSections> make_gguf_sections(const SourceModel& source, const ModelPlan& plan);
Result<formats::GgufWriter> prepare_gguf(const GgufSections& sections, const ModelPlan& plan,
                                         formats::ByteSink& sink);
/// Writes the tensors of `sections`, which were declared before the plan's.
Status write_gguf_factors(const GgufSections& sections, formats::GgufWriter& writer);

/// What is known of the tensors, and what becomes known of them. All may be null.
struct TensorNotes {
  Calibration* calibration = nullptr;
  std::vector<QuantizationError>* errors = nullptr;  ///< Takes each tensor's.
  FinishedTensors* finished = nullptr;               ///< Those are skipped.
};

/// Streams every tensor of the plan in order.
Status write_tensors(const SourceModel& source, const ModelPlan& plan, Executor& executor,
                     const Progress& progress, const WriteBytes& write,
                     const TensorNotes& notes = {});

}  // namespace quern::convert
