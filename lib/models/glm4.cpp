// GLM 4 (Zeng et al. 2024, "ChatGLM: A Family of Large Language Models"; the 0414 models): norms on
// both sides of each block, rotary pairs of neighbours in half of every head.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "glm4";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf, "silu", "hidden_act", {{"bias.qkv", "attention_bias", "", false, ConfigValue(true)}}};
  return kSpelling;
}

RopeSpelling rope_spelling() {
  RopeSpelling rope{kGguf};
  rope.partial = 0.5;
  return rope;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, rope_spelling(), config));
  config.set("architecture", std::string("glm4"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules =
      decoder_tensors({.attn_post_norm = "layers.{}.post_self_attn_layernorm",
                       .w_gate = "layers.{}.mlp.gate_up_proj",
                       .w_up = "layers.{}.mlp.gate_up_proj",
                       .ffn_post_norm = "layers.{}.post_mlp_layernorm",
                       .hf_fused_gate_up = true,
                       .gguf_fused_gate_up = true});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights,
                       {.placement = NormPlacement::kBoth, .attention = {.interleaved = true}});
}

}  // namespace

extern const Architecture kGlm4;
const Architecture kGlm4 = {
    "glm4", {"Glm4ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
