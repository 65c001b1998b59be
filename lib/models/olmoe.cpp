// OLMoE (Muennighoff et al. 2024, "OLMoE: Open Mixture-of-Experts Language Models"): Llama with a
// mixture of small experts, norms over all queries and all keys, projections that may be clamped.
#include "models/config_io.h"
#include "models/mixture.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "olmoe";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {{"n_experts", "num_experts", "expert_count"},
       {"n_experts_used", "num_experts_per_tok", "expert_used_count"},
       {"normalise_experts", "norm_topk_prob", "expert_weights_norm", false, ConfigValue(false)},
       {"clip", "clip_qkv", "attention.clamp_kqv", false},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  config.set("expert_ffn_dim", *config.find("ffn_dim"));
  config.set("architecture", std::string("olmoe"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> own = qk_row_norm_tensors();
    const std::vector<TensorRule> experts = mixture_tensors({});
    own.insert(own.end(), experts.begin(), experts.end());
    return decoder_tensors({.w_gate = "", .w_up = "", .w_down = ""}, own);
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  layout.attention.qk_norm = QkNorm::kRow;
  QUERN_TRY(clip, config.number_or("clip", 0.0));
  layout.attention.clip = static_cast<float>(clip);
  QUERN_TRY(mixture, read_mixture(config));
  layout.mixture = std::move(mixture);
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kOlmoe;
const Architecture kOlmoe = {
    "olmoe", {"OlmoeForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
