// Qwen 1.5 and 2 MoE (Yang et al. 2024, "Qwen2 Technical Report"): Qwen 2 with a mixture of experts
// and a gated expert that every row takes.
#include "models/config_io.h"
#include "models/mixture.h"
#include "models/qwen.h"
#include "models/qwen_moe.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "qwen2moe";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling = [] {
    DecoderSpelling s{kGguf};
    s.keys = mixture_keys();
    s.keys.push_back(
        {"shared_ffn_dim", "shared_expert_intermediate_size", "expert_shared_feed_forward_length"});
    s.keys.push_back({"bias.qkv", "qkv_bias", "", false, ConfigValue(true)});
    return s;
  }();
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  QUERN_CHECK(read_sparse_layers(source, kind, config));
  QUERN_CHECK(read_qwen_moe_windows(source, kind, true, config));
  config.set("architecture", std::string("qwen2_moe"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_CHECK(check_gguf_sparse_layers(config));
  QUERN_TRY(out, write_gguf_qwen_config(config, spelling()));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    MixtureTable mixture;
    mixture.shared = "layers.{}.mlp.shared_expert";
    mixture.shared_gate = "layers.{}.mlp.shared_expert_gate";
    return sparse_decoder_tensors({}, mixture);
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  QUERN_TRY(mixture, read_mixture(config));
  layout.mixture = std::move(mixture);
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kQwen2Moe;
const Architecture kQwen2Moe = {
    "qwen2_moe", {"Qwen2MoeForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
