// gpt-oss (OpenAI 2025, "gpt-oss-120b & gpt-oss-20b Model Card"): attention sinks, every other
// layer with a window, a mixture whose experts have biases and a clamped gate.
#include "models/config_io.h"
#include "models/mixture.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "gpt-oss";
constexpr const char* kTruncates = "gpt-oss.rope.scaling.yarn_truncate";
constexpr std::int64_t kPattern = 2;   // Every second layer is full.
constexpr std::int64_t kWindow = 128;  // Where a configuration is silent.

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {{"n_experts", "num_local_experts", "expert_count"},
       {"n_experts_used", "num_experts_per_tok", "expert_used_count"},
       {"expert_ffn_dim", "", "expert_feed_forward_length", false},
       {"glu_limit", "swiglu_limit", "swiglu_limit", false, ConfigValue(7.0)},
       {"glu_alpha", "swiglu_alpha", "swiglu_alpha", false, ConfigValue(1.702)},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(true)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(true)}}};
  return kSpelling;
}

/// What a configuration without any scaling means.
void set_default_scaling(Config& source) {
  const std::string prefix = "rope_parameters.";
  for (const char* key : {"rope_scaling.factor", "rope_scaling.type", "rope_scaling.rope_type",
                          "rope_parameters.rope_theta", "rope_parameters.rope_type"})
    if (source.has(key)) return;
  source.set(prefix + "rope_type", std::string("yarn"));
  source.set(prefix + "factor", 32.0);
  source.set(prefix + "original_max_position_embeddings", 4096.0);
  source.set(prefix + "truncate", false);
}

Result<Config> read_config(const Config& given, SourceKind kind) {
  Config source = given;
  if (kind == SourceKind::kHuggingFace) set_default_scaling(source);
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(expect_value(source, "hidden_act", std::string("silu")));
  QUERN_CHECK(expect_value(source, "quantization_config.quant_method", std::string("mxfp4")));
  QUERN_CHECK(read_rope(source, kind, {kGguf, "", 150000.0}, config));
  // llama.cpp's files do not say that this model's bounds are not rounded.
  if (kind == SourceKind::kGguf && !source.has(kTruncates)) config.set("rope.truncate", false);
  QUERN_CHECK(read_windows(source, kind, kGguf, kPattern, config, kWindow));
  if (!config.has("expert_ffn_dim")) config.set("expert_ffn_dim", *config.find("ffn_dim"));
  config.set("architecture", std::string("gpt_oss"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_TRY(truncates, config.boolean_or("rope.truncate", false));
  out.set(kTruncates, truncates);
  QUERN_CHECK(write_gguf_windows(config, kGguf, kPattern, out));
  return out;
}

/// gpt-oss stores its experts `[in, out]`, gate and up in turn, under names without ".weight".
TensorRule expert(std::string_view name, const std::string& hf, std::string_view gguf,
                  std::string_view rows, std::string_view cols, bool up, bool fused) {
  TensorRule rule = matrix_rule(name, "layers.{}.mlp.experts." + hf, gguf, rows, cols);
  rule.hf_transform = Transform::kTranspose;
  rule.count = "n_experts";
  if (fused) rule.hf_slice = {up ? "1" : "", "1", "2", "2*expert_ffn_dim"};
  return rule;
}

TensorRule expert_bias(std::string_view name, const std::string& hf, std::string_view gguf,
                       std::string_view n, bool up, bool fused) {
  TensorRule rule = norm_rule(name, "layers.{}.mlp.experts." + hf, gguf, n);
  rule.count = "n_experts";
  if (fused) rule.hf_slice = {up ? "1" : "", "1", "2", "2*expert_ffn_dim"};
  return rule;
}

std::vector<TensorRule> own_tensors() {
  const std::string both = "gate_up_proj", both_bias = "gate_up_proj_bias";
  TensorRule router = matrix_rule("layers.{}.router", "layers.{}.mlp.router.weight",
                                  "blk.{}.ffn_gate_inp.weight", "n_experts", "dim");
  router.role = Role::kExact;
  return {norm_rule("layers.{}.sinks", "layers.{}.self_attn.sinks", "blk.{}.attn_sinks.weight",
                    "n_heads"),
          router,
          norm_rule("layers.{}.router.bias", "layers.{}.mlp.router.bias",
                    "blk.{}.ffn_gate_inp.bias", "n_experts"),
          expert("layers.{}.experts_gate", both, "blk.{}.ffn_gate_exps.weight", "expert_ffn_dim",
                 "dim", false, true),
          expert("layers.{}.experts_up", both, "blk.{}.ffn_up_exps.weight", "expert_ffn_dim", "dim",
                 true, true),
          expert("layers.{}.experts_down", "down_proj", "blk.{}.ffn_down_exps.weight", "dim",
                 "expert_ffn_dim", false, false),
          expert_bias("layers.{}.experts_gate.bias", both_bias, "blk.{}.ffn_gate_exps.bias",
                      "expert_ffn_dim", false, true),
          expert_bias("layers.{}.experts_up.bias", both_bias, "blk.{}.ffn_up_exps.bias",
                      "expert_ffn_dim", true, true),
          expert_bias("layers.{}.experts_down.bias", "down_proj_bias", "blk.{}.ffn_down_exps.bias",
                      "dim", false, false)};
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules =
        decoder_tensors({.w_gate = "", .w_up = "", .w_down = ""}, own_tensors());
    rule_of(rules, "layers.{}.ffn_norm").gguf = "blk.{}.post_attention_norm.weight";
    return rules;
  }();
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  layout.attention.sinks = true;
  QUERN_TRY(limit, config.number_or("glu_limit", 7.0));
  QUERN_TRY(alpha, config.number_or("glu_alpha", 1.702));
  QUERN_TRY(mixture, read_mixture(config));
  if (!(limit > 0)) return Error(ErrorCode::kOutOfRange, "a limit is not positive").of("glu_limit");
  layout.mixture = std::move(mixture);
  layout.mixture.normalise = true;
  layout.mixture.limit = static_cast<float>(limit);
  layout.mixture.alpha = static_cast<float>(alpha);
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kGptOss;
const Architecture kGptOss = {
    "gpt_oss", {"GptOssForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
