// The configuration of T5's family, and what it says about both stacks.
#include "models/t5.h"

#include <array>
#include <cmath>

#include "models/config_io.h"

namespace quern::models {
namespace {

/// Relative positions have no end; a session's default does.
constexpr std::int64_t kMaxSeqLen = 1 << 16;

/// The decoder's own keys are the last.
constexpr std::size_t kDecoderKeys = 3;
constexpr std::array<ConfigKey, 13> kKeys = {{
    {"vocab_size", "vocab_size", "vocab_size", false},
    {"dim", "d_model", "embedding_length"},
    {"encoder.n_layers", "num_layers", "block_count"},
    {"n_heads", "num_heads", "attention.head_count"},
    {"head_dim", "d_kv", "attention.key_length"},
    {"ffn_dim", "d_ff", "feed_forward_length"},
    {"norm_eps", "layer_norm_epsilon", "attention.layer_norm_rms_epsilon", false},
    {"n_buckets", "relative_attention_num_buckets", "attention.relative_buckets_count", false},
    {"max_distance", "relative_attention_max_distance", "attention.relative_max_distance", false},
    {"layers_have_bias", "", "attention.relative_bias_per_layer", false},
    {"n_layers", "num_decoder_layers", "decoder_block_count", false},
    {"decoder_start_token_id", "decoder_start_token_id", "decoder_start_token_id", false},
    {"logit_scale", "", "decoder_output_scale", false},
}};

/// "gated-gelu" → a gate, and the function; `dense_act_fn` and `is_gated_act` have the last word.
Status read_mlp(const Config& source, SourceKind kind, std::string_view fallback, Config& config) {
  if (kind == SourceKind::kGguf) {
    const bool gated = source.has("enc.blk.0.ffn_gate.weight");
    config.set("gated", gated);
    config.set("activation", std::string(gated ? "gelu_tanh" : "relu"));
    return {};
  }
  QUERN_TRY(word, source.string_or("feed_forward_proj", std::string(fallback)));
  constexpr std::string_view kGated = "gated-";
  const bool says_gated = word.starts_with(kGated);
  std::string function = says_gated ? word.substr(kGated.size()) : word;
  if (word == "gated-gelu") function = "gelu_new";
  QUERN_TRY(name, source.string_or("dense_act_fn", function));
  QUERN_TRY(gated, source.boolean_or("is_gated_act", says_gated));
  QUERN_TRY(activation, canonical_activation(name));
  config.set("gated", gated);
  config.set("activation", activation);
  return {};
}

/// The first T5 divides the decoder's output by √dim. Configurations of T5 and UMT5 that do not say
/// so say that the output matrix is tied, which those of later versions do not; GGUF's do not say
/// that either, but those versions have gates.
Status read_logit_scale(const Config& source, SourceKind kind, Config& config) {
  if (config.has("logit_scale")) return {};
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(gated, config.boolean("gated"));
  QUERN_TRY(tied, source.boolean_or("tie_word_embeddings", true));
  const bool scales = is_class(source, "T5") || is_class(source, "UMT5");
  const bool first = kind == SourceKind::kGguf ? !gated : tied && scales;
  QUERN_TRY(scaled, source.boolean_or("scale_decoder_outputs", first));
  if (scaled && dim > 0) config.set("logit_scale", 1.0 / std::sqrt(static_cast<double>(dim)));
  return {};
}

void set_defaults(Config& config) {
  const std::array<std::pair<const char*, ConfigValue>, 6> defaults = {{
      {"norm_eps", 1e-6},
      {"n_buckets", std::int64_t{32}},
      {"max_distance", std::int64_t{128}},
      {"logit_scale", 1.0},
      {"layers_have_bias", false},
      {"max_seq_len", kMaxSeqLen},
  }};
  for (const auto& [key, value] : defaults) {
    if (!config.has(key)) config.set(key, value);
  }
}

std::string encoder_key(std::string_view key) { return "encoder." + std::string(key); }

}  // namespace

Result<Config> read_t5_config(const Config& source, SourceKind kind, std::string_view gguf_arch,
                              bool with_decoder) {
  const auto keys = std::span(kKeys).first(kKeys.size() - (with_decoder ? 0 : kDecoderKeys));
  QUERN_TRY(config, read_keys(keys, source, kind, gguf_arch));
  if (!config.has("vocab_size") || kind == SourceKind::kGguf) {
    QUERN_TRY(vocab_size, source.integer("vocab_size"));
    config.set("vocab_size", vocab_size);
  }
  if (is_class(source, "UMT5")) config.set("layers_have_bias", true);
  const bool first = is_class(source, "T5");
  QUERN_CHECK(read_mlp(source, kind, first ? "relu" : "gated-gelu", config));
  if (with_decoder) QUERN_CHECK(read_logit_scale(source, kind, config));
  set_defaults(config);
  for (const char* key : {"vocab_size", "n_heads", "head_dim", "ffn_dim"}) {
    QUERN_TRY(value, config.integer(key));
    config.set(encoder_key(key), value);
  }
  if (with_decoder && !config.has("n_layers")) {
    QUERN_TRY(n_layers, config.integer("encoder.n_layers"));
    config.set("n_layers", n_layers);
  }
  return config;
}

Result<Config> write_t5_config(const Config& config, std::string_view gguf_arch) {
  QUERN_TRY(gated, config.boolean("gated"));
  QUERN_TRY(activation, config.string("activation"));
  const std::string_view known = gated ? "gelu_tanh" : "relu";
  if (activation != known)
    return Error(ErrorCode::kUnsupported, "GGUF knows this architecture with one activation only")
        .of("activation")
        .want(std::string(known))
        .got(activation);
  Config out = write_gguf_keys(kKeys, config, gguf_arch);
  const std::string prefix = std::string(gguf_arch) + ".";
  out.set(prefix + "context_length", *config.find("max_seq_len"));
  out.set(prefix + "attention.value_length", *config.find("head_dim"));
  out.set(prefix + "attention.layer_norm_epsilon", *config.find("norm_eps"));
  return out;
}

Result<EncoderDecoderLayout> t5_layout(const Config& config) {
  EncoderDecoderLayout layout;
  QUERN_TRY(gated, config.boolean("gated"));
  QUERN_TRY(own, config.boolean("layers_have_bias"));
  QUERN_TRY(logit_scale, config.number("logit_scale"));
  QUERN_TRY(n_buckets, evaluate_dimension("n_buckets", config));
  QUERN_TRY(max_distance, evaluate_dimension("max_distance", config));
  layout.gated = gated;
  layout.layers_have_bias = own;
  layout.logit_scale = static_cast<float>(logit_scale);
  layout.bias.n_buckets = n_buckets;
  layout.bias.max_distance = max_distance;
  layout.score_scale = 1.0F;
  return layout;
}

}  // namespace quern::models
