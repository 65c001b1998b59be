// Phi 1 to 2 (Gunasekar et al. 2023, "Textbooks Are All You Need"): attention and MLP side by side
// after one layer norm, rotary in the first part of every head, biases everywhere.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "phi2";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "gelu_tanh",
      "hidden_act",
      {layer_norm_eps_key(),
       {"qk_norm", "qk_layernorm", "attention.qk_norm", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  RopeSpelling rope{kGguf};
  rope.partial = 0.5;
  QUERN_CHECK(read_rope(source, kind, rope, config));
  config.set("architecture", std::string("phi"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules =
      decoder_tensors({.wo = "layers.{}.self_attn.dense",
                       .ffn_norm = "",
                       .w_gate = "",
                       .w_up = "layers.{}.mlp.fc1",
                       .w_down = "layers.{}.mlp.fc2",
                       .norm = "final_layernorm"},
                      layer_qk_norm_tensors("layers.{}.self_attn.q_layernorm",
                                            "layers.{}.self_attn.k_layernorm", "qk_norm"));
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(qk_norm, config.boolean_or("qk_norm", false));
  return build_decoder(config, weights,
                       {.norm = NormKind::kLayer,
                        .parallel = true,
                        .gated = false,
                        .attention = {.qk_norm = qk_norm ? QkNorm::kHeads : QkNorm::kNone,
                                      .qk_norm_kind = NormKind::kLayer}});
}

}  // namespace

extern const Architecture kPhi;
const Architecture kPhi = {
    "phi", {"PhiForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
