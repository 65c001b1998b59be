// Gemma 3n's configuration in both spellings.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "models/config_io.h"
#include "models/gemma3n.h"
#include "models/rope_config.h"
#include "models/window_config.h"

namespace quern::models {
namespace {

constexpr std::int64_t kPattern = 5;  // Every fifth layer is full.
constexpr std::int64_t kMaxLayers = 4096;
constexpr double kDefaultTheta = 1000000.0, kDefaultLocalTheta = 10000.0;
constexpr std::int64_t kSparseLayers = 10;  // Where a checkpoint does not say,
constexpr double kSparsity = 0.95;          // and how much of them.
constexpr std::int64_t kGgufOwnLayers = 20;
constexpr const char* kSparsityKey = "activation_sparsity_pattern";
constexpr const char* kGgufSparsityKey = "gemma3n.activation_sparsity_scale";

const DecoderSpelling& spelling() {
  const auto number = [](std::int64_t value) { return ConfigValue(value); };
  static const DecoderSpelling kSpelling{
      kGemma3nGguf,
      "gelu_tanh",
      "hidden_activation",
      {{"head_dim", "head_dim", "attention.key_length", false, number(256)},
       {"norm_eps", "rms_norm_eps", "attention.layer_norm_rms_epsilon", false, ConfigValue(1e-6)},
       {"altup.streams", "altup_num_inputs", "altup.num_inputs", false, number(4)},
       {"altup.active", "altup_active_idx", "altup.active_idx", false, number(0)},
       {"altup.correct_scale", "altup_correct_scale", "altup.correct_scale", false,
        ConfigValue(true)},
       {"per_layer_dim", "hidden_size_per_layer_input", "embedding_length_per_layer_input", false,
        number(256)},
       {"per_layer_vocab", "vocab_size_per_layer_input", "vocab_size_per_layer_input", false},
       {"laurel_rank", "laurel_rank", "laurel_rank", false, number(64)},
       {"n_shared_kv", "num_kv_shared_layers", "attention.shared_kv_layers", false},
       {"bias.qkv", "attention_bias", "attention_bias", false, ConfigValue(false)},
       {"bias.wo", "attention_bias", "attention_bias", false, ConfigValue(false)}}};
  return kSpelling;
}

/// A checkpoint of text, pictures and sound keeps the text's keys apart.
Config text_part(const Config& source) {
  constexpr std::string_view kSection = "text_config.";
  Config text;
  for (const auto& [key, value] : source.items()) {
    if (key.starts_with(kSection)) text.set(key.substr(kSection.size()), value);
  }
  return text.items().empty() ? source : text;
}

Error per_layer_mismatch(const std::string& key, std::int64_t n_layers, std::size_t found) {
  return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
      .of(key)
      .want(std::to_string(n_layers))
      .got(std::to_string(found));
}

Result<std::int64_t> read_n_layers(const Config& config) {
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (n_layers >= 1 && n_layers <= kMaxLayers) return n_layers;
  return Error(ErrorCode::kOutOfRange, "the number of layers is out of range").of("n_layers");
}

/// The width of the MLP may be a list, whose values must be one.
Status read_width(const Config& source, const std::string& key, Config& config) {
  QUERN_TRY(n_layers, read_n_layers(config));
  const ConfigList widths = source.list(key);
  if (widths.size() > 1 && widths.size() != static_cast<std::size_t>(n_layers))
    return per_layer_mismatch(key, n_layers, widths.size());
  for (const ConfigValue& width : widths) {
    if (width == widths.front()) continue;
    return Error(ErrorCode::kUnsupported, "layers of different widths are not implemented").of(key);
  }
  if (!widths.empty()) config.set("ffn_dim", widths.front());
  return {};
}

/// The number of standard deviations above the mean below which `part` of a normal distribution
/// lies, rounded to float32. By halving: it is asked for a few numbers, once.
double normal_quantile(double part) {
  double low = -40.0, high = 40.0;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle * std::sqrt(0.5)) / 2 < part ? low : high) = middle;
  }
  return static_cast<double>(static_cast<float>(high));
}

/// One value per layer: a part of the activations that is cut (0: none is), in Hugging Face form;
/// standard deviations (−∞: nothing is cut), in GGUF.
Status read_sparsity(const Config& source, SourceKind kind, Config& config) {
  QUERN_TRY(n_layers, read_n_layers(config));
  const bool hf = kind == SourceKind::kHuggingFace;
  const std::string key = hf ? kSparsityKey : kGgufSparsityKey;
  ConfigList values = source.list(key);
  if (values.empty()) {
    const std::int64_t n_sparse = n_layers > kSparseLayers || !hf ? kSparseLayers : 0;
    const double none = hf ? 0.0 : -std::numeric_limits<double>::infinity();
    const double some = hf ? kSparsity : normal_quantile(kSparsity);
    for (std::int64_t i = 0; i < n_layers; ++i) values.emplace_back(i < n_sparse ? some : none);
  }
  if (values.size() != static_cast<std::size_t>(n_layers))
    return per_layer_mismatch(key, n_layers, values.size());
  ConfigList sparse, deviations;
  for (const ConfigValue& value : values) {
    Config one;
    one.set(key, value);
    QUERN_TRY(number, one.number(key));
    if (hf ? !(number < 1.0) : !(number < std::numeric_limits<float>::max())) {
      return Error(ErrorCode::kOutOfRange, "a sparsity is out of range")
          .of(key)
          .want(hf ? "less than 1" : "a finite number, or minus infinity")
          .got(std::to_string(number));
    }
    const bool cuts = hf ? number > 0.0 : std::isfinite(number);
    sparse.emplace_back(cuts);
    // A part is a float32 before its quantile is taken, as in transformers.
    deviations.emplace_back(
        !cuts ? 0.0
              : (hf ? normal_quantile(static_cast<double>(static_cast<float>(number))) : number));
  }
  config.set("sparse_layers", std::move(sparse));
  config.set("sparse_deviations", std::move(deviations));
  return {};
}

/// The last `n_shared_kv` layers read keys and values of the last earlier layer of their kind.
Status set_shared_keys(Config& config) {
  QUERN_TRY(n_layers, read_n_layers(config));
  QUERN_TRY(n_shared, config.integer("n_shared_kv"));
  config.set("n_shared_kv", n_shared);  // Some GGUF files hold it as a float.
  if (n_shared < 0 || n_shared >= n_layers) {
    return Error(ErrorCode::kOutOfRange, "the number of layers that share keys is out of range")
        .of("n_shared_kv")
        .want("0 to " + std::to_string(n_layers - 1))
        .got(std::to_string(n_shared));
  }
  ConfigList windows = config.list("layer_windows");
  if (windows.empty()) windows.resize(static_cast<std::size_t>(n_layers));
  if (windows.size() != static_cast<std::size_t>(n_layers))
    return per_layer_mismatch("layer_windows", n_layers, windows.size());
  QUERN_TRY(has_bias, config.boolean_or("bias.qkv", false));
  ConfigList layers, own, biases;
  for (std::int64_t i = 0; i < n_layers; ++i) {
    std::int64_t from = std::min(i, n_layers - n_shared - 1);
    const ConfigValue& kind = windows[static_cast<std::size_t>(i)];
    while (from >= 0 && windows[static_cast<std::size_t>(from)] != kind) --from;
    if (from < 0) {
      return Error(ErrorCode::kUnsupported, "a layer shares the keys of a kind that none has")
          .of("layer_types")
          .got("layer " + std::to_string(i));
    }
    layers.emplace_back(from);
    own.emplace_back(from == i);
    biases.emplace_back(has_bias && from == i);
  }
  config.set("kv_layer", std::move(layers));
  config.set("own_kv", std::move(own));
  config.set("bias.kv", std::move(biases));
  return {};
}

Status set_streams(Config& config) {
  QUERN_TRY(streams, config.integer("altup.streams"));
  QUERN_TRY(active, config.integer("altup.active"));
  constexpr std::int64_t kMaxStreams = 64;
  if (streams < 1 || streams > kMaxStreams)
    return Error(ErrorCode::kOutOfRange, "the number of streams is out of range")
        .of("altup_num_inputs")
        .want("1 to " + std::to_string(kMaxStreams))
        .got(std::to_string(streams));
  if (active < 0 || active >= streams)
    return Error(ErrorCode::kOutOfRange, "there is no such stream")
        .of("altup_active_idx")
        .want("0 to " + std::to_string(streams - 1))
        .got(std::to_string(active));
  config.set("altup.extra", streams - 1);
  config.set("altup.many", streams > 1);
  return {};
}

Status read_hf(const Config& source, Config& config) {
  QUERN_TRY(old_local, source.number_or("rope_local_base_freq", kDefaultLocalTheta));
  QUERN_TRY(local, source.number_or("rope_parameters.sliding_attention.rope_theta", old_local));
  config.set("rope.local_theta", local);
  QUERN_CHECK(
      expect_value(source, "rope_parameters.sliding_attention.rope_type", std::string("default")));
  const bool uncapped =
      source.find("final_logit_softcapping") != nullptr && !source.has("final_logit_softcapping");
  QUERN_TRY(softcap, source.number_or("final_logit_softcapping", uncapped ? 0.0 : 30.0));
  config.set("logit_softcap", softcap);
  if (!config.has("per_layer_vocab")) config.set("per_layer_vocab", std::int64_t{262144});
  if (!config.has("n_shared_kv")) config.set("n_shared_kv", std::int64_t{15});
  return read_width(source, "intermediate_size", config);
}

Status read_gguf(const Config& source, Config& config) {
  QUERN_TRY(local, source.number_or("gemma3n.rope.freq_base_swa", kDefaultLocalTheta));
  config.set("rope.local_theta", local);
  QUERN_TRY(softcap, source.number_or("gemma3n.final_logit_softcapping", 30.0));
  config.set("logit_softcap", softcap);
  if (!config.has("per_layer_vocab")) config.set("per_layer_vocab", *config.find("vocab_size"));
  QUERN_TRY(n_layers, read_n_layers(config));
  if (!config.has("n_shared_kv"))
    config.set("n_shared_kv", std::max<std::int64_t>(0, n_layers - kGgufOwnLayers));
  return read_width(source, "gemma3n.feed_forward_length", config);
}

}  // namespace

Result<Config> read_gemma3n_config(const Config& whole, SourceKind kind) {
  const bool hf = kind == SourceKind::kHuggingFace;
  Config source = text_part(whole);
  if (hf && !source.has("sliding_window")) source.set("sliding_window", std::int64_t{512});
  QUERN_TRY(config, read_decoder_config(source, kind, spelling()));
  QUERN_CHECK(read_rope(source, kind, {kGemma3nGguf, "full_attention", kDefaultTheta}, config));
  QUERN_CHECK(read_windows(source, kind, kGemma3nGguf, kPattern, config));
  QUERN_CHECK(hf ? read_hf(source, config) : read_gguf(source, config));
  QUERN_CHECK(read_sparsity(source, kind, config));
  QUERN_CHECK(set_shared_keys(config));
  QUERN_CHECK(set_streams(config));
  config.set("architecture", std::string("gemma3n"));
  return config;
}

Result<Config> write_gemma3n_gguf_config(const Config& config) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling()));
  QUERN_CHECK(write_gguf_rope(config, kGemma3nGguf, out));
  QUERN_CHECK(write_gguf_windows(config, kGemma3nGguf, kPattern, out));
  QUERN_TRY(local, config.number("rope.local_theta"));
  if (local != kDefaultLocalTheta) out.set("gemma3n.rope.freq_base_swa", local);
  QUERN_TRY(softcap, config.number("logit_softcap"));
  out.set("gemma3n.final_logit_softcapping", softcap);
  // The table is filled up for the tokens beyond it.
  out.set("gemma3n.vocab_size_per_layer_input", *config.find("vocab_size"));
  const ConfigList sparse = config.list("sparse_layers");
  ConfigList scales = config.list("sparse_deviations");
  if (sparse.size() != scales.size())
    return Error(ErrorCode::kMismatch, "two lists of the configuration differ in length")
        .of("sparse_layers");
  for (std::size_t i = 0; i < scales.size(); ++i) {
    if (sparse[i] == ConfigValue(false)) scales[i] = -std::numeric_limits<double>::infinity();
  }
  out.set(kGgufSparsityKey, std::move(scales));
  return out;
}

}  // namespace quern::models
