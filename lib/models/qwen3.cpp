// Qwen 3 (Yang et al. 2025, "Qwen3 Technical Report"): Llama's blocks with a norm on every query
// and key head.
#include "models/blocks.h"
#include "models/decoder_tensors.h"
#include "models/qwen.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "qwen3";

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_qwen_config(source, kind, kGguf));
  config.set("architecture", std::string("qwen3"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  return write_gguf_qwen_config(config, kGguf);
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({}, qk_norm_tensors());
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {.attention = {.qk_norm = QkNorm::kHeads}});
}

}  // namespace

extern const Architecture kQwen3;
const Architecture kQwen3 = {
    "qwen3", {"Qwen3ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
