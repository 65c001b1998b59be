#include "models/config_io.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace quern::models {
namespace {

const std::vector<ConfigKey>& decoder_keys() {
  static const std::vector<ConfigKey> kKeys = {
      {"vocab_size", "vocab_size", "vocab_size", false},
      {"dim", "hidden_size", "embedding_length"},
      {"n_layers", "num_hidden_layers", "block_count"},
      {"n_heads", "num_attention_heads", "attention.head_count"},
      {"n_kv_heads", "num_key_value_heads", "attention.head_count_kv", false},
      {"head_dim", "head_dim", "attention.key_length", false},
      {"ffn_dim", "intermediate_size", "feed_forward_length"},
      {"max_seq_len", "max_position_embeddings", "context_length"},
      {"norm_eps", "rms_norm_eps", "attention.layer_norm_rms_epsilon"},
  };
  return kKeys;
}

/// The common keys, the family's in the place of those that it names anew.
std::vector<ConfigKey> keys_of(const DecoderSpelling& spelling) {
  std::vector<ConfigKey> keys = decoder_keys();
  for (const ConfigKey& own : spelling.keys) {
    const auto same = std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& key) {
      return key.canonical == own.canonical;
    });
    if (same != keys.end())
      *same = own;
    else
      keys.push_back(own);
  }
  return keys;
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kActivationNames = {{
    {"silu", "silu"},
    {"swish", "silu"},
    {"gelu", "gelu_erf"},
    {"gelu_pytorch_tanh", "gelu_tanh"},
    {"gelu_new", "gelu_tanh"},
    {"gelu_fast", "gelu_tanh"},
    {"gelu_python", "gelu_erf"},
    {"relu", "relu"},
    {"relu2", "relu2"},
    {"tanh", "tanh"},
    {"sigmoid", "sigmoid"},
}};

constexpr std::array<std::pair<std::string_view, graph::Activation>, 7> kActivations = {{
    {"silu", graph::Activation::kSilu},
    {"gelu_tanh", graph::Activation::kGeluTanh},
    {"gelu_erf", graph::Activation::kGeluErf},
    {"relu", graph::Activation::kRelu},
    {"relu2", graph::Activation::kRelu2},
    {"tanh", graph::Activation::kTanh},
    {"sigmoid", graph::Activation::kSigmoid},
}};

std::string source_name(const ConfigKey& key, SourceKind kind, std::string_view gguf_arch) {
  if (kind == SourceKind::kHuggingFace) return std::string(key.hf);
  return key.gguf.empty() ? std::string() : std::string(gguf_arch) + "." + std::string(key.gguf);
}

/// Fills in what follows from other keys.
Status complete(const Config& source, SourceKind kind, Config& config) {
  if (!config.has("vocab_size") || kind == SourceKind::kGguf) {
    // A GGUF's own key may be absent or padded otherwise; the embedding's rows decide.
    QUERN_TRY(vocab_size, source.integer("vocab_size"));
    config.set("vocab_size", vocab_size);
  }
  QUERN_TRY(n_heads, config.integer("n_heads"));
  QUERN_TRY(width, config.integer("dim"));
  constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
  if (!config.has("ffn_dim") && width > 0 && width <= kMaxWidth) config.set("ffn_dim", 4 * width);
  if (!config.has("n_kv_heads")) config.set("n_kv_heads", n_heads);
  if (!config.has("head_dim")) {
    QUERN_TRY(dim, config.integer("dim"));
    QUERN_TRY(head_dim, head_width(dim, n_heads, "n_heads"));
    config.set("head_dim", head_dim);
  }
  return {};
}

bool is_nothing(const ConfigValue& value) {
  if (const auto* b = std::get_if<bool>(&value)) return !*b;
  if (const auto* i = std::get_if<std::int64_t>(&value)) return *i == 0;
  if (const auto* d = std::get_if<double>(&value)) return *d == 0.0;
  if (const auto* l = std::get_if<ConfigList>(&value)) return l->empty();
  return value.is_null();
}

}  // namespace

Result<Config> read_keys(std::span<const ConfigKey> keys, const Config& source, SourceKind kind,
                         std::string_view gguf_arch) {
  Config config;
  for (const ConfigKey& key : keys) {
    const std::string name = source_name(key, kind, gguf_arch);
    if (name.empty()) continue;
    if (source.has(name)) {
      config.set(std::string(key.canonical), *source.find(name));
    } else if (!key.fallback.is_null()) {
      config.set(std::string(key.canonical), key.fallback);
    } else if (key.required) {
      return Error(ErrorCode::kMissing, "the configuration lacks a key").of(name);
    }
  }
  return config;
}

Config write_gguf_keys(std::span<const ConfigKey> keys, const Config& config,
                       std::string_view gguf_arch) {
  Config out;
  for (const ConfigKey& key : keys) {
    const std::string name = source_name(key, SourceKind::kGguf, gguf_arch);
    if (!name.empty() && config.has(key.canonical)) out.set(name, *config.find(key.canonical));
  }
  return out;
}

namespace {

/// GGUF may say a number layer by layer; one that is the same in all of them is a number.
Status join_layers(Config& config) {
  for (const char* key : {"n_heads", "n_kv_heads", "ffn_dim", "expert_ffn_dim"}) {
    const ConfigValue* value = config.find(key);
    const auto* list = value == nullptr ? nullptr : std::get_if<ConfigList>(value);
    if (list == nullptr || list->empty()) continue;
    const ConfigValue first = list->front();
    if (std::any_of(list->begin(), list->end(), [&](const ConfigValue& n) { return n != first; }))
      return Error(ErrorCode::kUnsupported, "layers of different widths are not implemented")
          .of(key);
    config.set(key, first);
  }
  return {};
}

}  // namespace

Result<Config> read_decoder_config(const Config& source, SourceKind kind,
                                   const DecoderSpelling& spelling) {
  QUERN_TRY(config, read_keys(keys_of(spelling), source, kind, spelling.gguf_arch));
  if (kind == SourceKind::kGguf) QUERN_CHECK(join_layers(config));
  QUERN_CHECK(complete(source, kind, config));
  std::string activation(spelling.activation);
  if (kind == SourceKind::kHuggingFace && source.has(spelling.hf_activation)) {
    QUERN_TRY(name, source.string(spelling.hf_activation));
    QUERN_TRY(canonical, canonical_activation(name));
    activation = canonical;
  }
  config.set("activation", activation);
  return config;
}

Result<Config> write_gguf_decoder_config(const Config& config, const DecoderSpelling& spelling) {
  QUERN_TRY(activation, config.string("activation"));
  if (activation != spelling.activation) {
    return Error(ErrorCode::kUnsupported, "GGUF knows this architecture with one activation only")
        .of("activation")
        .want(std::string(spelling.activation))
        .got(activation);
  }
  Config out = write_gguf_keys(keys_of(spelling), config, spelling.gguf_arch);
  if (config.has("head_dim")) {
    out.set(std::string(spelling.gguf_arch) + ".attention.value_length", *config.find("head_dim"));
  }
  return out;
}

ConfigKey layer_norm_eps_key(std::string_view hf) {
  return {"norm_eps", hf, "attention.layer_norm_epsilon", true, ConfigValue(1e-5)};
}

Result<std::int64_t> head_width(std::int64_t width, std::int64_t n_heads, std::string field) {
  if (n_heads > 0 && width % n_heads == 0) return width / n_heads;
  return Error(ErrorCode::kOutOfRange, "the width is no multiple of the number of heads")
      .of(std::move(field))
      .got(std::to_string(width) + " / " + std::to_string(n_heads));
}

Status set_kv_group(Config& config) {
  QUERN_TRY(n_heads, config.integer("n_heads"));
  QUERN_TRY(n_kv_heads, config.integer("n_kv_heads"));
  if (n_kv_heads < 1 || n_heads % n_kv_heads != 0) {
    return Error(ErrorCode::kOutOfRange, "the number of heads is no multiple of that of KV heads")
        .of("n_kv_heads")
        .got(std::to_string(n_heads) + " / " + std::to_string(n_kv_heads));
  }
  config.set("kv_group", n_heads / n_kv_heads);
  return {};
}

Result<double> optional_number(const Config& source, std::string_view key, double absent) {
  return source.number_or(key, source.find(key) != nullptr ? 0.0 : absent);
}

Result<std::int64_t> optional_integer(const Config& source, std::string_view key,
                                      std::int64_t absent) {
  return source.integer_or(key, source.find(key) != nullptr ? 0 : absent);
}

bool is_class(const Config& source, std::string_view prefix) {
  for (const ConfigValue& value : source.list("architectures")) {
    const auto* name = std::get_if<std::string>(&value);
    if (name != nullptr && name->starts_with(prefix)) return true;
  }
  return false;
}

Status expect_value(const Config& source, std::string_view key, const ConfigValue& only) {
  const ConfigValue* value = source.find(key);
  if (value == nullptr || value->is_null() || *value == only) return {};
  const auto* text = std::get_if<std::string>(value);
  return Error(ErrorCode::kUnsupported, "a value of the configuration is not implemented")
      .of(std::string(key))
      .got(text != nullptr ? *text : "");
}

Result<std::string> canonical_activation(const std::string& name) {
  for (const auto& [theirs, ours] : kActivationNames) {
    if (theirs == name) return std::string(ours);
  }
  return Error(ErrorCode::kUnsupported, "an activation function is not implemented")
      .of("hidden_act")
      .got(name);
}

Result<graph::Activation> parse_activation(const std::string& canonical) {
  for (const auto& [word, activation] : kActivations) {
    if (word == canonical) return activation;
  }
  return Error(ErrorCode::kUnsupported, "an activation function is not implemented")
      .of("activation")
      .got(canonical);
}

Status refuse(const Config& source, std::string_view key, std::string_view why) {
  const ConfigValue* value = source.find(key);
  if (value == nullptr || is_nothing(*value)) return {};
  return Error(ErrorCode::kUnsupported, std::string(why)).of(std::string(key));
}

}  // namespace quern::models
