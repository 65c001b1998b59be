// Command-R (Cohere 2024): attention and MLP side by side after one layer norm without bias, rotary
// pairs of neighbours, scaled logits.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "command-r";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {layer_norm_eps_key(),
       {"logit_scale", "logit_scale", "logit_scale", false, ConfigValue(0.0625)},
       {"qk_norm", "use_qk_norm", "attention.qk_norm", false, ConfigValue(false)},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf, "", 500000.0}, config));
  config.set("architecture", std::string("cohere"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> norms = qk_norm_tensors();
    norms[0].count = "n_heads";
    norms[1].count = "n_kv_heads";
    norms[0].when = norms[1].when = "qk_norm";
    return decoder_tensors({.ffn_norm = ""}, norms);
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(qk_norm, config.boolean_or("qk_norm", false));
  QUERN_TRY(logit_scale, config.number_or("logit_scale", 1.0));
  return build_decoder(config, weights,
                       {.norm = NormKind::kLayer,
                        .parallel = true,
                        .attention = {.qk_norm = qk_norm ? QkNorm::kHeads : QkNorm::kNone,
                                      .qk_norm_kind = NormKind::kLayer,
                                      .qk_norm_per_head = true,
                                      .interleaved = true},
                        .logit_scale = static_cast<float>(logit_scale)});
}

}  // namespace

extern const Architecture kCohere;
const Architecture kCohere = {
    "cohere", {"CohereForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
