// Command-R7B and Command A (Cohere 2025, "Command A: An Enterprise-Ready Large Language Model"):
// Command-R with windows in three layers of four, and rotary in those alone.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "cohere2";
constexpr std::int64_t kPattern = 4;    // Every fourth layer is full.
constexpr std::int64_t kWindow = 4096;  // Where a configuration is silent.

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {layer_norm_eps_key(),
       {"logit_scale", "logit_scale", "logit_scale", false, ConfigValue(0.0625)},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf}, config));
  QUERN_CHECK(read_windows(source, kind, kGguf, kPattern, config, kWindow));
  config.set("architecture", std::string("cohere2"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGguf, kPattern, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({.ffn_norm = ""});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(logit_scale, config.number_or("logit_scale", 1.0));
  QUERN_TRY(dims, DecoderDims::read(config));
  DecoderLayout layout{.norm = NormKind::kLayer,
                       .parallel = true,
                       .attention = {.interleaved = true},
                       .logit_scale = static_cast<float>(logit_scale)};
  layout.rotary_layers = windowed_layers(dims);
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kCohere2;
const Architecture kCohere2 = {
    "cohere2", {"Cohere2ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
