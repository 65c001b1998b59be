#include "models/modernbert_config.h"

#include <array>

#include "models/encoder_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::array<ConfigKey, 7> kKeys = {{
    {"vocab_size", "vocab_size", ""},
    {"dim", "hidden_size", ""},
    {"n_layers", "num_hidden_layers", ""},
    {"n_heads", "num_attention_heads", ""},
    {"ffn_dim", "intermediate_size", ""},
    {"n_positions", "max_position_embeddings", ""},
    {"norm_eps", "norm_eps", "", false},
}};

constexpr double kEpsilon = 1e-5;  // Where the configuration is silent.
constexpr std::int64_t kLocalAttention = 128;
constexpr std::int64_t kFullEvery = 3;
constexpr double kTheta = 160000.0;
constexpr double kLocalTheta = 10000.0;

/// `local_attention` counts both sides; layers 0, n, 2n, … see everything.
Status read_windows(const Config& source, Config& config) {
  QUERN_TRY(local, source.integer_or("local_attention", kLocalAttention));
  if (local < 2)
    return Error(ErrorCode::kUnsupported, "a window without neighbours is not implemented")
        .of("local_attention")
        .want("at least 2")
        .got(std::to_string(local));
  if (source.has("layer_types")) return read_layer_types(source, local / 2, config);
  QUERN_TRY(every, source.integer_or("global_attn_every_n_layers", kFullEvery));
  QUERN_TRY(n_layers, evaluate_dimension("n_layers", config));
  if (every < 1)
    return Error(ErrorCode::kOutOfRange, "the period of full layers is not positive")
        .of("global_attn_every_n_layers")
        .got(std::to_string(every));
  constexpr std::int64_t kMaxLayers = 4096;
  ConfigList windows;
  for (std::int64_t i = 0; i < std::min(n_layers, kMaxLayers); ++i)
    windows.emplace_back(i % every == 0 ? std::int64_t{0} : local / 2);
  config.set("layer_windows", std::move(windows));
  return {};
}

Status read_theta(const Config& source, const std::string& section, const char* old_key,
                  double fallback, const char* key, Config& config) {
  const std::string prefix = "rope_parameters." + section + ".";
  for (const std::string& type_key : {prefix + "rope_type", std::string("rope_scaling.rope_type"),
                                      std::string("rope_scaling.type")}) {
    QUERN_TRY(type, source.string_or(type_key, "default"));
    if (type != "default")
      return Error(ErrorCode::kUnsupported, "rope scaling is not implemented for ModernBERT")
          .of(type_key)
          .want("default")
          .got(type);
  }
  QUERN_TRY(old, source.number_or(old_key, fallback));
  QUERN_TRY(theta, source.number_or(prefix + "rope_theta", old));
  config.set(key, theta);
  return {};
}

Status read_biases(const Config& source, Config& config) {
  const auto flag = [&](const char* key, bool fallback) -> Result<bool> {
    return source.boolean_or(key, fallback);
  };
  QUERN_TRY(attention, flag("attention_bias", false));
  QUERN_TRY(mlp, flag("mlp_bias", false));
  QUERN_TRY(norm, flag("norm_bias", false));
  QUERN_TRY(classifier, flag("classifier_bias", false));
  QUERN_TRY(decoder, flag("decoder_bias", true));
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  QUERN_TRY(sequence, config.boolean("head.sequence"));
  QUERN_TRY(tokens, config.boolean("head.tokens"));
  const bool has_head = masked_lm || sequence || tokens;
  config.set("attention_bias", attention);
  config.set("mlp_bias", mlp);
  config.set("norm_bias", norm);
  config.set("has_head", has_head);
  config.set("head.dense_bias", has_head && classifier);
  config.set("head.norm_bias", has_head && norm);
  config.set("head.decoder_bias", masked_lm && decoder);
  ConfigList norms, biases;
  for (std::size_t i = 0; i < config.list("layer_windows").size(); ++i) {
    norms.emplace_back(i > 0);
    biases.emplace_back(i > 0 && norm);
  }
  config.set("attn_norms", std::move(norms));
  config.set("attn_norm_biases", std::move(biases));
  return {};
}

}  // namespace

Result<Config> read_modernbert_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_encoder_config(source, kind, kKeys, "", "hidden_activation"));
  if (!source.has("norm_eps")) config.set("norm_eps", kEpsilon);
  QUERN_CHECK(read_windows(source, config));
  QUERN_CHECK(
      read_theta(source, "full_attention", "global_rope_theta", kTheta, "rope.theta", config));
  QUERN_CHECK(read_theta(source, "sliding_attention", "local_rope_theta", kLocalTheta,
                         "rope.local_theta", config));
  QUERN_CHECK(read_head(source, config));
  QUERN_CHECK(read_biases(source, config));
  QUERN_TRY(activation, source.string_or("classifier_activation", "gelu"));
  QUERN_TRY(canonical, canonical_activation(activation));
  config.set("head.activation", canonical);
  QUERN_TRY(pooling, source.string_or("classifier_pooling", "cls"));
  if (pooling != "cls" && pooling != "mean")
    return Error(ErrorCode::kUnsupported, "this pooling is not implemented for ModernBERT")
        .of("classifier_pooling")
        .want("cls or mean")
        .got(pooling);
  config.set("head.pooling", std::string(pooling == "cls" ? "first" : "mean"));
  config.set("architecture", std::string("modernbert"));
  return config;
}

Result<std::vector<std::int64_t>> modernbert_windows(const Config& config, std::int64_t n_layers) {
  std::vector<std::int64_t> windows;
  for (const ConfigValue& value : config.list("layer_windows")) {
    const auto* window = std::get_if<std::int64_t>(&value);
    if (window == nullptr || *window < 0)
      return Error(ErrorCode::kOutOfRange, "a window is negative or no integer")
          .of("layer_windows");
    windows.push_back(*window);
  }
  if (static_cast<std::int64_t>(windows.size()) != n_layers)
    return Error(ErrorCode::kMismatch, "the number of layer windows is not that of layers")
        .of("layer_windows")
        .want(std::to_string(n_layers))
        .got(std::to_string(windows.size()));
  return windows;
}

}  // namespace quern::models
