// OLMo 2 (OLMo Team 2024, "2 OLMo 2 Furious"): norms after attention and MLP instead of before, and
// one norm over all queries and all keys.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "olmo2";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {{"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  config.set("architecture", std::string("olmo2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules =
      decoder_tensors({.attn_norm = "",
                       .attn_post_norm = "layers.{}.post_attention_layernorm",
                       .ffn_norm = "",
                       .ffn_post_norm = "layers.{}.post_feedforward_layernorm"},
                      qk_row_norm_tensors());
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(
      config, weights,
      {.placement = NormPlacement::kAfter, .attention = {.qk_norm = QkNorm::kRow}});
}

}  // namespace

extern const Architecture kOlmo2;
const Architecture kOlmo2 = {
    "olmo2", {"Olmo2ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
