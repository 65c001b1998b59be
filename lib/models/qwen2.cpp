// Qwen 2 and 2.5 (Yang et al. 2024, "Qwen2 Technical Report"): Llama's blocks with biases on wq,
// wk, wv.
#include "models/blocks.h"
#include "models/decoder_tensors.h"
#include "models/qwen.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "qwen2";

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_qwen_config(source, kind, kGguf));
  config.set("architecture", std::string("qwen2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  return write_gguf_qwen_config(config, kGguf);
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {});
}

}  // namespace

extern const Architecture kQwen2;
const Architecture kQwen2 = {
    "qwen2", {"Qwen2ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
