#include "models/modernbert_config.h"

#include <algorithm>
#include <array>
#include <utility>

#include "models/encoder_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::array<ConfigKey, 7> kKeys = {{
    {"vocab_size", "vocab_size", "vocab_size", false},
    {"dim", "hidden_size", "embedding_length"},
    {"n_layers", "num_hidden_layers", "block_count"},
    {"n_heads", "num_attention_heads", "attention.head_count"},
    {"ffn_dim", "intermediate_size", "feed_forward_length"},
    {"n_positions", "max_position_embeddings", "context_length"},
    {"norm_eps", "norm_eps", "attention.layer_norm_epsilon", false},
}};

constexpr double kEpsilon = 1e-5;  // Where the configuration is silent.
constexpr std::int64_t kLocalAttention = 128;
constexpr std::int64_t kFullEvery = 3;
constexpr double kTheta = 160000.0;
constexpr double kLocalTheta = 10000.0;
constexpr std::int64_t kGgufMean = 1, kGgufFirst = 2;  // Of a head.

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

std::string gguf_key(const char* name) { return std::string(kModernBertGguf) + "." + name; }

/// Which layers have a window, as Hugging Face says it.
Status translate_windows(const Config& source, Config& out) {
  QUERN_TRY(n_layers, source.integer(gguf_key("block_count")));
  QUERN_TRY(window, source.integer_or(gguf_key("attention.sliding_window"), 0));
  const std::string pattern_key = gguf_key("attention.sliding_window_pattern");
  const ConfigList flags = source.list(pattern_key);
  const bool listed = flags.size() > 1;
  QUERN_TRY(period, listed ? kFullEvery : source.integer_or(pattern_key, kFullEvery));
  if (n_layers < 1 || n_layers > 4096 || period < 1)
    return Error(ErrorCode::kOutOfRange, "the pattern of sliding windows is out of range")
        .of(pattern_key);
  if (listed && static_cast<std::int64_t>(flags.size()) != n_layers)
    return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
        .of(pattern_key);
  ConfigList types;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    const ConfigValue flag = listed ? flags[static_cast<std::size_t>(i)] : ConfigValue(false);
    const bool slides = listed ? flag == ConfigValue(true) || flag == ConfigValue(std::int64_t{1})
                               : i % period != 0;
    types.emplace_back(std::string(slides && window > 0 ? "sliding_attention" : "full_attention"));
  }
  out.set("layer_types", std::move(types));
  if (window > 0) out.set("local_attention", window);
  return {};
}

/// GGUF's configuration with what it says in other words under Hugging Face's.
Result<Config> translated(const Config& source) {
  Config out = source;
  QUERN_CHECK(translate_windows(source, out));
  QUERN_CHECK(expect_value(source, gguf_key("rope.scaling.type"), std::string("none")));
  // llama.cpp's converter takes "norm_eps" for that of another norm.
  QUERN_TRY(eps, source.number_or(gguf_key("attention.layer_norm_rms_epsilon"), kEpsilon));
  if (!source.has(gguf_key("attention.layer_norm_epsilon")))
    out.set(gguf_key("attention.layer_norm_epsilon"), eps);
  QUERN_TRY(theta, source.number_or(gguf_key("rope.freq_base"), kLocalTheta));
  QUERN_TRY(local_theta, source.number_or(gguf_key("rope.freq_base_swa"), kLocalTheta));
  out.set("global_rope_theta", theta);
  out.set("local_rope_theta", local_theta);
  QUERN_TRY(activation, source.string_or(gguf_key("hidden_activation"), "gelu"));
  out.set("hidden_activation", activation);
  const std::pair<const char*, const char*> biases[] = {{"attention_bias", "blk.0.attn_qkv.bias"},
                                                        {"mlp_bias", "blk.0.ffn_up.bias"},
                                                        {"norm_bias", "output_norm.bias"},
                                                        {"classifier_bias", "cls.bias"}};
  for (const auto& [key, tensor] : biases) out.set(key, source.has(tensor));
  QUERN_TRY(pooling, source.integer_or(gguf_key("classifier.pooling_type"), kGgufMean));
  out.set("classifier_pooling", std::string(pooling == kGgufMean ? "mean" : "cls"));
  return out;
}

/// The period of full layers, or one flag per layer where there is none.
Status write_windows(const Config& config, Config& out) {
  QUERN_TRY(n_layers, config.integer("n_layers"));
  QUERN_TRY(windows, modernbert_windows(config, n_layers));
  const std::int64_t widest = *std::max_element(windows.begin(), windows.end());
  if (widest == 0) return {};
  std::int64_t period = 1;
  while (period < n_layers && windows[static_cast<std::size_t>(period)] != 0) ++period;
  bool periodic = true;
  ConfigList flags;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    const std::int64_t window = windows[static_cast<std::size_t>(i)];
    if (window != 0 && window != widest)
      return Error(ErrorCode::kUnsupported, "GGUF has one width for all windows")
          .of("layer_windows");
    periodic = periodic && (window == 0) == (i % period == 0);
    flags.emplace_back(window != 0);
  }
  out.set(gguf_key("attention.sliding_window"), 2 * widest);
  const std::string pattern_key = gguf_key("attention.sliding_window_pattern");
  if (periodic)
    out.set(pattern_key, period);
  else
    out.set(pattern_key, std::move(flags));
  return {};
}

}  // namespace

Result<Config> read_modernbert_config(const Config& published, SourceKind kind) {
  const bool gguf = kind == SourceKind::kGguf;
  QUERN_TRY(source, gguf ? translated(published) : Result<Config>(published));
  QUERN_TRY(config, read_encoder_config(source, kind, kKeys, kModernBertGguf, "hidden_activation"));
  if (!gguf && !source.has("norm_eps")) config.set("norm_eps", kEpsilon);
  QUERN_CHECK(read_windows(source, config));
  QUERN_CHECK(
      read_theta(source, "full_attention", "global_rope_theta", kTheta, "rope.theta", config));
  QUERN_CHECK(read_theta(source, "sliding_attention", "local_rope_theta", kLocalTheta,
                         "rope.local_theta", config));
  QUERN_CHECK(read_head(source, config));
  if (gguf) {
    QUERN_CHECK(read_gguf_pooling(source, kModernBertGguf, config));
    QUERN_CHECK(read_gguf_head(source, kModernBertGguf, config));
  }
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

Result<Config> write_modernbert_gguf_config(const Config& config) {
  QUERN_TRY(activation, config.string("activation"));
  if (activation != "silu") QUERN_CHECK(check_gguf_activation(config, "gelu_erf"));
  Config out = write_gguf_keys(kKeys, config, kModernBertGguf);
  QUERN_CHECK(write_windows(config, out));
  QUERN_TRY(theta, config.number("rope.theta"));
  QUERN_TRY(local_theta, config.number("rope.local_theta"));
  out.set(gguf_key("rope.freq_base"), theta);
  out.set(gguf_key("rope.freq_base_swa"), local_theta);
  out.set(gguf_key("hidden_activation"), std::string(activation == "silu" ? "silu" : "gelu"));
  QUERN_CHECK(write_gguf_pooling(config, kModernBertGguf, out));
  QUERN_TRY(labels, write_gguf_head(config, kModernBertGguf, "gelu_erf", out));
  if (!labels) return out;
  QUERN_TRY(pooling, config.string("head.pooling"));
  out.set(gguf_key("classifier.pooling_type"), pooling == "mean" ? kGgufMean : kGgufFirst);
  return out;
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
