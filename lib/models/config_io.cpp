#include "models/config_io.h"

#include <array>
#include <string>
#include <utility>

namespace quern::models {
namespace {

constexpr std::array<ConfigKey, 9> kDecoderKeys = {{
    {"vocab_size", "vocab_size", "vocab_size", false},
    {"dim", "hidden_size", "embedding_length"},
    {"n_layers", "num_hidden_layers", "block_count"},
    {"n_heads", "num_attention_heads", "attention.head_count"},
    {"n_kv_heads", "num_key_value_heads", "attention.head_count_kv", false},
    {"head_dim", "head_dim", "attention.key_length", false},
    {"ffn_dim", "intermediate_size", "feed_forward_length"},
    {"max_seq_len", "max_position_embeddings", "context_length"},
    {"norm_eps", "rms_norm_eps", "attention.layer_norm_rms_epsilon"},
}};

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
  if (!config.has("n_kv_heads")) config.set("n_kv_heads", n_heads);
  if (!config.has("head_dim")) {
    QUERN_TRY(dim, config.integer("dim"));
    if (n_heads <= 0 || dim % n_heads != 0) {
      return Error(ErrorCode::kOutOfRange, "the width is no multiple of the number of heads")
          .of("n_heads")
          .got(std::to_string(dim) + " / " + std::to_string(n_heads));
    }
    config.set("head_dim", dim / n_heads);
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
    if (!name.empty() && source.has(name)) {
      config.set(std::string(key.canonical), *source.find(name));
    } else if (key.required && !name.empty()) {
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

Result<Config> read_decoder_config(const Config& source, SourceKind kind,
                                   std::string_view gguf_arch, std::string_view gguf_activation) {
  QUERN_TRY(config, read_keys(kDecoderKeys, source, kind, gguf_arch));
  QUERN_CHECK(complete(source, kind, config));
  std::string activation(gguf_activation);
  if (kind == SourceKind::kHuggingFace) {
    QUERN_TRY(hidden_act, source.string_or("hidden_act", "silu"));
    QUERN_TRY(name, source.string_or("hidden_activation", hidden_act));
    QUERN_TRY(canonical, canonical_activation(name));
    activation = canonical;
  }
  config.set("activation", activation);
  return config;
}

Config write_gguf_decoder_config(const Config& config, std::string_view gguf_arch) {
  Config out = write_gguf_keys(kDecoderKeys, config, gguf_arch);
  if (config.has("head_dim")) {
    out.set(std::string(gguf_arch) + ".attention.value_length", *config.find("head_dim"));
  }
  return out;
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
