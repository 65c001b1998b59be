// SmolLM 3 (Hugging Face 2025): Llama without rotary in every fourth layer.
#include "models/blocks.h"
#include "models/config_io.h"
#include "models/decoder_tensors.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "smollm3";
constexpr std::int64_t kInterval = 4;  // Every fourth layer does not rotate.

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kGguf,
      "silu",
      "hidden_act",
      {{"no_rope_interval", "no_rope_layer_interval", "", false},
       {"bias.qkv", "attention_bias", "", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "", false, ConfigValue(false)},
       {"bias.ffn", "mlp_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

/// `rotary_layers`: whether each layer rotates.
Status read_rotary_layers(const Config& source, SourceKind kind, Config& config) {
  const bool hf = kind == SourceKind::kHuggingFace;
  QUERN_TRY(n_layers, config.integer("n_layers"));
  QUERN_TRY(interval, source.integer_or(hf ? "no_rope_layer_interval" : "", kInterval));
  if (n_layers < 1 || n_layers > 4096 || interval < 1)
    return Error(ErrorCode::kOutOfRange, "layers without rotary are out of range")
        .of("no_rope_layer_interval");
  const ConfigList given = source.list(hf ? "no_rope_layers" : "smollm3.rotary_layers");
  ConfigList layers;
  for (std::int64_t i = 0; given.empty() && i < n_layers; ++i)
    layers.emplace_back((i + 1) % interval != 0);
  for (const ConfigValue& value : given) {
    if (static_cast<std::int64_t>(layers.size()) == n_layers) break;  // More are not read.
    const auto* flag = std::get_if<std::int64_t>(&value);
    layers.emplace_back(flag != nullptr ? *flag != 0 : value == ConfigValue(true));
  }
  config.set("rotary_layers", std::move(layers));
  return {};
}

/// Without a list of layer types the window is that of the layers that do not rotate.
Status read_smollm3_windows(const Config& source, SourceKind kind, Config& config) {
  if (kind == SourceKind::kGguf || !source.list("layer_types").empty())
    return read_windows(source, kind, kGguf, 0, config);
  QUERN_TRY(window, source.integer_or("sliding_window", 0));
  ConfigList windows;
  for (const ConfigValue& rotates : config.list("rotary_layers"))
    windows.emplace_back(rotates == ConfigValue(true) ? std::int64_t{0} : window);
  if (window > 0) config.set("layer_windows", std::move(windows));
  return {};
}

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGguf, "", 2000000.0}, config));
  QUERN_CHECK(read_rotary_layers(source, kind, config));
  QUERN_TRY(slides, source.boolean_or("use_sliding_window", kind == SourceKind::kGguf));
  if (slides) QUERN_CHECK(read_smollm3_windows(source, kind, config));
  config.set("architecture", std::string("smollm3"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGguf, 0, out));
  out.set("smollm3.rotary_layers", config.list("rotary_layers"));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const std::vector<TensorRule> kRules = decoder_tensors({.gguf_qk = Transform::kRopeRows});
  return kRules;
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  DecoderLayout layout;
  for (const ConfigValue& rotates : config.list("rotary_layers"))
    layout.rotary_layers.push_back(rotates == ConfigValue(true));
  return build_decoder(config, weights, layout);
}

}  // namespace

extern const Architecture kSmollm3;
const Architecture kSmollm3 = {
    "smollm3", {"SmolLM3ForCausalLM"}, {kGguf}, read_config, write_gguf_config, tensors, build};

}  // namespace quern::models
