#include "models/encoder_config.h"

#include <algorithm>
#include <array>

namespace quern::models {
namespace {

constexpr std::array<ConfigKey, 8> kBertKeys = {{
    {"vocab_size", "vocab_size", "vocab_size", false},
    {"dim", "hidden_size", "embedding_length"},
    {"n_layers", "num_hidden_layers", "block_count"},
    {"n_heads", "num_attention_heads", "attention.head_count"},
    {"ffn_dim", "intermediate_size", "feed_forward_length"},
    {"n_positions", "max_position_embeddings", "context_length"},
    {"norm_eps", "layer_norm_eps", "attention.layer_norm_epsilon", false},
    {"n_types", "type_vocab_size", "", false},
}};

constexpr double kBertEpsilon = 1e-12;  // Where a configuration is silent.
constexpr std::int64_t kDefaultLabels = 2;
constexpr std::int64_t kDefaultPadding = 1;

/// GGUF's numbers for pooling, by index; 0 is none.
constexpr std::array<std::string_view, 4> kGgufPoolings = {"", "mean", "first", "last"};
constexpr std::int64_t kGgufRanking = 4;
constexpr std::string_view kGgufLabels = ".classifier.output_labels";

std::string class_of(const Config& source) {
  for (const ConfigValue& value : source.list("architectures")) {
    const auto* name = std::get_if<std::string>(&value);
    if (name != nullptr && find_by_hf_class(*name) != nullptr) return *name;
  }
  return {};
}

/// Names of the labels, or their number alone.
Status read_labels(const Config& source, Config& config) {
  ConfigList labels;
  for (std::int64_t i = 0; source.has("id2label." + std::to_string(i)); ++i)
    labels.push_back(*source.find("id2label." + std::to_string(i)));
  QUERN_TRY(number, source.integer_or("num_labels", kDefaultLabels));
  config.set("n_labels", labels.empty() ? number : static_cast<std::int64_t>(labels.size()));
  if (!labels.empty()) config.set("labels", std::move(labels));
  return {};
}

}  // namespace

std::span<const ConfigKey> bert_keys() noexcept { return kBertKeys; }

Result<Config> read_encoder_config(const Config& source, SourceKind kind,
                                   std::span<const ConfigKey> keys, std::string_view gguf_arch,
                                   std::string_view hf_activation) {
  for (const char* key : {"is_decoder", "add_cross_attention"})
    QUERN_CHECK(refuse(source, key, "an encoder that works as a decoder is not implemented"));
  QUERN_TRY(position_type, source.string_or("position_embedding_type", "absolute"));
  if (position_type != "absolute")
    return Error(ErrorCode::kUnsupported, "these positions are not implemented")
        .of("position_embedding_type")
        .got(position_type);
  QUERN_TRY(config, read_keys(keys, source, kind, gguf_arch));
  if (!config.has("vocab_size")) {
    QUERN_TRY(vocab_size, source.integer("vocab_size"));
    config.set("vocab_size", vocab_size);
  }
  QUERN_TRY(dim, evaluate_dimension("dim", config));
  QUERN_TRY(n_heads, evaluate_dimension("n_heads", config));
  QUERN_TRY(n_positions, evaluate_dimension("n_positions", config));
  QUERN_TRY(head_dim, head_width(dim, n_heads, "n_heads"));
  config.set("head_dim", head_dim);
  config.set("embed_dim", dim);
  config.set("max_seq_len", n_positions);
  config.set("position_offset", std::int64_t{0});
  if (!config.has("norm_eps")) config.set("norm_eps", kBertEpsilon);
  QUERN_TRY(activation, source.string_or(hf_activation, "gelu"));
  QUERN_TRY(canonical, canonical_activation(activation));
  config.set("activation", canonical);
  return config;
}

Status read_head(const Config& source, Config& config) {
  const std::string name = class_of(source);
  const bool sequence = name.ends_with("ForSequenceClassification");
  const bool tokens = name.ends_with("ForTokenClassification");
  config.set("head.masked_lm", name.ends_with("ForMaskedLM"));
  config.set("head.sequence", sequence);
  config.set("head.tokens", tokens);
  QUERN_TRY(dim, config.integer("dim"));
  config.set("head_width", dim);
  return sequence || tokens ? read_labels(source, config) : Status();
}

Status check_gguf_activation(const Config& config, std::string_view only) {
  QUERN_TRY(activation, config.string("activation"));
  if (activation == only) return {};
  return Error(ErrorCode::kUnsupported, "GGUF knows this architecture with one activation only")
      .of("activation")
      .want(std::string(only))
      .got(activation);
}

Result<bool> write_gguf_head(const Config& config, std::string_view gguf_arch,
                             std::string_view activation, Config& out) {
  for (const char* head : {"head.masked_lm", "head.tokens"})
    QUERN_CHECK(refuse(config, head, "GGUF has no words for this head of an encoder"));
  QUERN_TRY(sequence, config.boolean_or("head.sequence", false));
  if (!sequence) return false;
  QUERN_TRY(own, config.string("head.activation"));
  if (own != activation)
    return Error(ErrorCode::kUnsupported, "GGUF has no words for this head of an encoder")
        .of("head.activation")
        .want(std::string(activation))
        .got(own);
  ConfigList labels = config.list("labels");
  QUERN_TRY(n_labels, evaluate_dimension("n_labels", config));
  for (auto i = static_cast<std::int64_t>(labels.size()); i < n_labels; ++i)
    labels.emplace_back("LABEL_" + std::to_string(i));
  out.set(std::string(gguf_arch) + ".pooling_type", kGgufRanking);
  out.set(std::string(gguf_arch) + std::string(kGgufLabels), std::move(labels));
  return true;
}

Status read_gguf_head(const Config& source, std::string_view gguf_arch, Config& config) {
  QUERN_TRY(pooling, source.integer_or(std::string(gguf_arch) + ".pooling_type", 0));
  // llama.cpp's converter leaves the pooling to the user.
  if (pooling != kGgufRanking && !source.has("cls.output.weight")) return {};
  const ConfigList labels = source.list(std::string(gguf_arch) + std::string(kGgufLabels));
  config.set("head.sequence", true);
  config.set("n_labels", labels.empty() ? 1 : static_cast<std::int64_t>(labels.size()));
  if (!labels.empty()) config.set("labels", labels);
  return {};
}

Status write_gguf_pooling(const Config& config, std::string_view gguf_arch, Config& out) {
  const std::string prefix(gguf_arch);
  QUERN_TRY(n_types, config.integer_or("n_types", 0));
  out.set(prefix + ".attention.causal", false);
  out.set("tokenizer.ggml.token_type_count", std::max<std::int64_t>(n_types, 1));
  if (config.list("embedding.pooling").size() > 1)
    return Error(ErrorCode::kUnsupported, "GGUF has no words for several poolings")
        .of("embedding.pooling");
  QUERN_TRY(pooling, config.string_or("embedding.pooling", ""));
  for (std::size_t i = 0; i < kGgufPoolings.size(); ++i) {
    if (pooling != kGgufPoolings[i]) continue;
    if (i > 0) out.set(prefix + ".pooling_type", static_cast<std::int64_t>(i));
    return {};
  }
  return Error(ErrorCode::kUnsupported, "GGUF has no number for this pooling")
      .of("embedding.pooling")
      .got(pooling);
}

Result<Config> write_bert_gguf_config(const Config& config) {
  constexpr std::string_view kGguf = "bert";
  QUERN_CHECK(check_gguf_activation(config, "gelu_erf"));
  Config out = write_gguf_keys(bert_keys(), config, kGguf);
  QUERN_CHECK(write_gguf_pooling(config, kGguf, out));
  QUERN_CHECK(write_gguf_head(config, kGguf, "tanh", out));
  return out;
}

Status read_gguf_pooling(const Config& source, std::string_view gguf_arch, Config& config) {
  const std::string key = std::string(gguf_arch) + ".pooling_type";
  QUERN_TRY(number, source.integer_or(key, 0));
  if (number == kGgufRanking) return {};
  if (number < 0 || number >= static_cast<std::int64_t>(kGgufPoolings.size()))
    return Error(ErrorCode::kUnsupported, "this kind of pooling is not implemented")
        .of(key)
        .want("0 to 3")
        .got(std::to_string(number));
  if (number > 0)
    config.set("embedding.pooling", std::string(kGgufPoolings[static_cast<std::size_t>(number)]));
  return {};
}

Status read_padded_positions(const Config& source, Config& config) {
  QUERN_TRY(padding, source.integer_or("pad_token_id", kDefaultPadding));
  QUERN_TRY(n_positions, config.integer("n_positions"));
  if (padding < 0 || padding >= n_positions - 1)
    return Error(ErrorCode::kOutOfRange, "the padding's id leaves no positions")
        .of("pad_token_id")
        .want("less than the number of positions")
        .got(std::to_string(padding));
  config.set("position_offset", padding + 1);
  config.set("max_seq_len", n_positions - padding - 1);
  return {};
}

}  // namespace quern::models
