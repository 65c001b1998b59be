// Nemotron 3 and 4, Minitron (Parmar et al. 2024, "Nemotron-4 15B Technical Report"): layer norms
// stored minus one, a plain MLP with squared ReLU, rotary in half of every head.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "nemotron";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "relu2",
      "hidden_act",
      {layer_norm_eps_key("norm_eps"),
       {"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)},
       {"bias.ffn", "mlp_bias", "", false, ConfigValue(false)}}};
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
  config.set("architecture", std::string("nemotron"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules =
      decoder_tensors({.w_gate = "", .hf_norm = Transform::kAddOne});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {.norm = NormKind::kLayer, .gated = false});
}

}  // namespace

extern const Architecture kNemotron;
const Architecture kNemotron = {
    "nemotron", {"NemotronForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
