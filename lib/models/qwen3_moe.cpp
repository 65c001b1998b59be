// Qwen 3 MoE (Yang et al. 2025, "Qwen3 Technical Report"): Qwen 3 with a mixture of experts.
#include "models/config_io.h"
#include "models/mixture.h"
#include "models/qwen.h"
#include "models/qwen_moe.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "qwen3moe";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling = [] {
    DecoderSpelling s{kGguf};
    s.keys = mixture_keys();
    s.keys.push_back({"bias.qkv", "attention_bias", "", false, ConfigValue(false)});
    s.keys.push_back({"bias.wo", "attention_bias", "", false, ConfigValue(false)});
    return s;
  }();
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  Config meant = source;
  if (source.has("num_local_experts")) meant.set("num_experts", *source.find("num_local_experts"));
  QUERN_TRY(config, read_decoder_config(meant, kind, spelling()));
  // The GGUF form always divides the weights by their sum.
  if (kind == SourceKind::kGguf && !source.has("qwen3moe.expert_weights_norm"))
    config.set("normalise_experts", true);
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  QUERN_CHECK(read_sparse_layers(source, kind, config));
  QUERN_CHECK(read_qwen_moe_windows(source, kind, false, config));
  config.set("architecture", std::string("qwen3_moe"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_CHECK(check_gguf_sparse_layers(config));
  QUERN_TRY(out, write_gguf_qwen_config(config, spelling()));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = sparse_decoder_tensors({}, {}, qk_norm_tensors());
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  layout.attention.qk_norm = QkNorm::kHeads;
  QUERN_TRY(mixture, read_mixture(config));
  layout.mixture = std::move(mixture);
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kQwen3Moe;
const Architecture kQwen3Moe = {
    "qwen3_moe", {"Qwen3MoeForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
