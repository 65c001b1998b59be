#include "models/lfm2_config.h"

#include <algorithm>
#include <string>

#include "models/config_io.h"
#include "models/recurrent.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

const DecoderSpelling& spelling() {
  static const DecoderSpelling kSpelling{
      kLfm2Gguf,
      "silu",
      "",
      {{"norm_eps", "norm_eps", "attention.layer_norm_rms_epsilon", false, ConfigValue(1e-5)},
       {"conv_kernel", "conv_L_cache", "shortconv.l_cache", false, ConfigValue(std::int64_t{3})},
       {"bias.conv", "conv_bias", "", false, ConfigValue(false)}}};
  return kSpelling;
}

/// The published width is adjusted unless the checkpoint says otherwise.
Status adjust_ffn_dim(const Config& source, Config& config) {
  if (source.has("block_ff_dim")) config.set("ffn_dim", *source.find("block_ff_dim"));
  QUERN_TRY(adjusts, source.boolean_or("block_auto_adjust_ff_dim", true));
  if (!adjusts) return {};
  QUERN_TRY(ffn_dim, config.integer("ffn_dim"));
  QUERN_TRY(multiple, source.integer_or("block_multiple_of", 256));
  if (ffn_dim < 1 || ffn_dim > (1 << 24) || multiple < 1 || multiple > (1 << 20))
    return Error(ErrorCode::kOutOfRange, "a dimension of the model is out of range")
        .of("block_multiple_of");
  std::int64_t adjusted = 2 * ffn_dim / 3;
  if (source.has("block_ffn_dim_multiplier")) {
    QUERN_TRY(factor, source.number("block_ffn_dim_multiplier"));
    adjusted = static_cast<std::int64_t>(factor * static_cast<double>(adjusted));
    adjusted = (adjusted + multiple - 1) / multiple * multiple;
  }
  config.set("ffn_dim", adjusted);
  return {};
}

Status read_layers(const Config& source, Config& config) {
  QUERN_CHECK(read_attention_layers(source, "conv", "conv", config));
  if (config.has("attention_layers")) return {};
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (n_layers < 1 || n_layers > 4096)
    return Error(ErrorCode::kOutOfRange, "the number of layers is out of range").of("n_layers");
  const ConfigList full = source.list("full_attn_idxs");
  ConfigList layers;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    layers.emplace_back(full.empty() ||
                        std::find(full.begin(), full.end(), ConfigValue(i)) != full.end());
  }
  config.set("attention_layers", std::move(layers));
  return {};
}

Result<Config> read_gguf_config(Config source) {
  const std::string stem = std::string(kLfm2Gguf) + ".attention.";
  QUERN_CHECK(refuse(source, stem + "sliding_window", "windows of LFM 2 are not implemented"));
  QUERN_CHECK(expect_value(source, stem + "causal", ConfigValue(true)));
  QUERN_TRY(layers, take_attention_layers(source, kLfm2Gguf));
  QUERN_TRY(config, read_decoder_config(source, SourceKind::kGguf, spelling()));
  QUERN_CHECK(read_rope(source, SourceKind::kGguf, {kLfm2Gguf}, config));
  config.set("attention_layers", std::move(layers));
  return config;
}

Result<Config> read_hf_config(const Config& source) {
  constexpr SourceKind kKind = SourceKind::kHuggingFace;
  QUERN_TRY(config, read_decoder_config(source, kKind, spelling()));
  QUERN_CHECK(read_rope(source, kKind, {"", "", 1000000.0}, config));
  QUERN_CHECK(adjust_ffn_dim(source, config));
  QUERN_CHECK(read_layers(source, config));
  return config;
}

}  // namespace

Result<Config> read_lfm2_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, kind == SourceKind::kGguf ? read_gguf_config(source) : read_hf_config(source));
  config.set("architecture", std::string("lfm2"));
  return config;
}

Result<Config> write_lfm2_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kLfm2Gguf, out));
  QUERN_CHECK(write_gguf_attention_layers(config, kLfm2Gguf, out));
  return out;
}

}  // namespace quern::models
