// StarCoder 2 (Lozhkov et al. 2024, "StarCoder 2 and The Stack v2"): Llama's attention with layer
// norms, biases and a plain MLP.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "starcoder2";

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{kGguf,
                                         "gelu_tanh",
                                         "hidden_act",
                                         {layer_norm_eps_key("norm_epsilon"),
                                          {"bias.qkv", "use_bias", "", false, ConfigValue(true)},
                                          {"bias.wo", "use_bias", "", false, ConfigValue(true)},
                                          {"bias.ffn", "use_bias", "", false, ConfigValue(true)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  QUERN_CHECK(read_windows(source, kind, kGguf, 0, config));
  config.set("architecture", std::string("starcoder2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGguf, 0, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors(
      {.w_gate = "", .w_up = "layers.{}.mlp.c_fc", .w_down = "layers.{}.mlp.c_proj"});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  return build_decoder(config, weights, {.norm = NormKind::kLayer, .gated = false});
}

}  // namespace

extern const Architecture kStarcoder2;
const Architecture kStarcoder2 = {"starcoder2", {"Starcoder2ForCausalLM"}, {kGguf},
                                  read_config,  write_gguf_config,         tensors,
                                  build};

}  // namespace quern::models
