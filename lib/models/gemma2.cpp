// Gemma 2 (Gemma Team 2024, "Gemma 2: Improving Open Language Models at a Practical Size"): norms
// on both sides of each block, every other layer with a window, soft caps on scores and logits.
#include <cmath>

#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "gemma2";
constexpr std::int64_t kPattern = 2;    // Every second layer is full.
constexpr std::int64_t kWindow = 4096;  // Where a configuration is silent.
constexpr std::int64_t kLayersOf27B = 46;

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_tanh",
      "hidden_activation",
      {{"attention_softcap", "", "attn_logit_softcapping", false},
       {"logit_softcap", "", "final_logit_softcapping", false},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

/// Both sources of a configuration mean these where they are silent; null is no cap.
Status read_softcaps(const Config& source, SourceKind kind, Config& config) {
  const std::string prefix = kind == SourceKind::kGguf ? std::string(kGguf) + "." : "";
  QUERN_TRY(attention, optional_number(source, prefix + "attn_logit_softcapping", 50.0));
  QUERN_TRY(logits, optional_number(source, prefix + "final_logit_softcapping", 30.0));
  config.set("attention_softcap", attention);
  config.set("logit_softcap", logits);
  return {};
}

/// The width whose root divides the scores.
Result<double> score_width(const Config& source, SourceKind kind, const Config& config) {
  if (kind == SourceKind::kHuggingFace) return source.number_or("query_pre_attn_scalar", 256.0);
  QUERN_TRY(n_layers, config.integer("n_layers"));
  QUERN_TRY(dim, config.number("dim"));
  QUERN_TRY(n_heads, config.number("n_heads"));
  return n_layers == kLayersOf27B ? dim / n_heads : config.number("head_dim");
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  QUERN_CHECK(read_windows(source, kind, kGguf, kPattern, config, kWindow));
  QUERN_CHECK(read_softcaps(source, kind, config));
  QUERN_CHECK(refuse(source, "use_bidirectional_attention",
                     "bidirectional attention is not implemented for Gemma 2"));
  QUERN_TRY(width, score_width(source, kind, config));
  if (!(width > 0))
    return Error(ErrorCode::kOutOfRange, "a scale is not positive").of("query_pre_attn_scalar");
  QUERN_TRY(scale, source.number_or("gemma2.attention.scale", 1.0 / std::sqrt(width)));
  config.set("attention_scale", scale);
  config.set("architecture", std::string("gemma2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGguf, kPattern, out));
  QUERN_TRY(scale, config.number("attention_scale"));
  out.set("gemma2.attention.scale", scale);
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules =
      decoder_tensors({.attn_post_norm = "layers.{}.post_attention_layernorm",
                       .ffn_norm = "layers.{}.pre_feedforward_layernorm",
                       .ffn_post_norm = "layers.{}.post_feedforward_layernorm",
                       .hf_norm = Transform::kAddOne});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(scale, config.number("attention_scale"));
  QUERN_TRY(softcap, config.number_or("attention_softcap", 0.0));
  QUERN_TRY(logit_softcap, config.number_or("logit_softcap", 0.0));
  return build_decoder(
      config, weights,
      {.placement = NormPlacement::kBoth,
       .attention = {.scale = static_cast<float>(scale), .softcap = static_cast<float>(softcap)},
       .embed_scale = std::sqrt(static_cast<float>(dim)),
       .logit_softcap = static_cast<float>(logit_softcap)});
}

}  // namespace

extern const Architecture kGemma2;
const Architecture kGemma2 = {
    "gemma2", {"Gemma2ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
