// StableLM (Bellagente et al. 2024, "Stable LM 2 1.6B Technical Report"): Llama with layer norms
// and rotary in the first part of every head.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "stablelm";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {layer_norm_eps_key(),
       {"bias.qkv", "use_qkv_bias", "", false, ConfigValue(false)},
       {"qk_norm", "qk_layernorm", "attention.qk_norm", false, ConfigValue(false)},
       {"parallel", "use_parallel_residual", "use_parallel_residual", false, ConfigValue(false)}}};
  return kSpelling;
}

RopeSpelling rope_spelling() {
  RopeSpelling rope{kGguf};
  rope.partial = 0.25;
  return rope;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, rope_spelling(), config));
  QUERN_TRY(parallel, config.boolean_or("parallel", false));
  config.set("norms.ffn", !parallel);
  config.set("architecture", std::string("stablelm"));
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
    norms[0].hf = {"layers.{}.self_attn.q_layernorm.norms.{e}.weight"};
    norms[1].hf = {"layers.{}.self_attn.k_layernorm.norms.{e}.weight"};
    norms[0].count = "n_heads";
    norms[1].count = "n_kv_heads";
    norms[0].when = norms[1].when = "qk_norm";
    std::vector<TensorRule> rules = decoder_tensors({}, norms);
    rule_of(rules, "layers.{}.ffn_norm").when = "norms.ffn";
    rule_of(rules, "layers.{}.ffn_norm.bias").when = "norms.ffn";
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(qk_norm, config.boolean_or("qk_norm", false));
  QUERN_TRY(parallel, config.boolean_or("parallel", false));
  return build_decoder(config, weights,
                       {.norm = NormKind::kLayer,
                        .parallel = parallel,
                        .attention = {.qk_norm = qk_norm ? QkNorm::kHeads : QkNorm::kNone,
                                      .qk_norm_kind = NormKind::kLayer,
                                      .qk_norm_per_head = true}});
}

}  // namespace

extern const Architecture kStablelm;
const Architecture kStablelm = {
    "stablelm", {"StableLmForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
