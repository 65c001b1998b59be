// Gemma 1 (Gemma Team 2024, "Gemma: Open Models Based on Gemini Research and Technology"): Llama
// with norms stored minus one, embeddings scaled by √dim and a gated tanh-GELU.
#include <cmath>

#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "gemma";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_tanh",
      "hidden_act",
      {{"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  // The first checkpoints say "gelu" and were trained with the tanh approximation.
  Config meant = source;
  const char* said = source.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const ConfigValue erf(std::string("gelu"));
  const bool exact = source.has(said) && *source.find(said) == erf;
  meant.set("hidden_act", exact              ? ConfigValue(std::string("gelu_pytorch_tanh"))
                          : source.has(said) ? *source.find(said)
                                             : ConfigValue());
  QUERN_TRY(config, read_decoder_config(meant, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  QUERN_CHECK(refuse(source, "use_bidirectional_attention",
                     "bidirectional attention is not implemented for Gemma"));
  config.set("architecture", std::string("gemma"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({.hf_norm = Transform::kAddOne});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dim, config.integer("dim"));
  return build_decoder(config, weights, {.embed_scale = std::sqrt(static_cast<float>(dim))});
}

}  // namespace

extern const Architecture kGemma;
const Architecture kGemma = {
    "gemma", {"GemmaForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
