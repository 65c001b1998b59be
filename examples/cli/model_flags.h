/// \file
/// Flags that several commands share: the model, its threads and cache, sampling.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quern/model.h"
#include "quern/session.h"

namespace quern::cli {

struct ModelFlags {
  std::string path;
  int threads = 0;
  std::string device = "cpu";
  int gpu_layers = -1;
  bool fast = false;
  std::string kv = "auto";

  std::vector<std::string> adapters;  ///< "FILE" or "FILE=WEIGHT".

  /// MODEL, --threads, --device, --gpu-layers, --kv, --fast, --adapter.
  void add_to(CLI::App& command);
  /// MODEL alone, for commands that do not evaluate.
  void add_path_to(CLI::App& command, const char* what = "MODEL");

  /// Opens a model of any kind; Ctrl-C ends the program meanwhile.
  Result<Model> open(bool vocabulary_only = false) const;
  KvType kv_type() const;
};

/// --temp … --seed --greedy --stop, -n, --ctx.
struct GenerationFlags {
  std::optional<float> temperature, top_p, min_p, repeat_penalty;
  std::optional<std::int32_t> top_k;
  std::uint64_t seed = 0;
  bool greedy = false, ignore_eos = false, no_speculation = false;
  std::vector<std::string> stop;
  std::int64_t max_tokens = -1;
  std::int64_t context = 0;
  std::optional<std::int32_t> beams;
  std::optional<float> length_penalty;

  void add_to(CLI::App& command);
  /// --beams, --length-penalty, for commands that can search.
  void add_beams_to(CLI::App& command);
  /// Whether a beam search is asked for: by the flag, or by the model where no flag asks for
  /// another way of choosing.
  bool searches(const Model& model) const;
  BeamOptions beam_options(const Model& model) const;
  /// The model's defaults under the flags that were given.
  SamplingOptions sampling(const Model& model) const;
  GenerateOptions options(const Model& model) const;
};

/// "FILE" or "FILE=WEIGHT" as its two parts; the weight is 1 where none is given.
std::pair<std::string, float> split_adapter(const std::string& text);
/// --adapter FILE[=WEIGHT], which may be repeated.
void add_adapter_option(CLI::App& command, std::vector<std::string>& adapters);

/// \return "stop", "length", "cancelled" or "context_full".
const char* reason_name(FinishReason reason);

}  // namespace quern::cli
