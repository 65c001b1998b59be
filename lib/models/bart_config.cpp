#include "models/bart_config.h"

#include <array>
#include <cmath>
#include <string>

#include "models/config_io.h"

namespace quern::models {
namespace {

/// What a class's code does whatever its configuration says.
struct Variant {
  std::string_view hf_class;
  bool norm_first, embed_norm;
  bool sinusoids;  ///< Computed positions; else learned ones, behind two rows without a use.
};
constexpr std::array<Variant, 6> kVariants = {{
    {"BartForConditionalGeneration", false, true, false},
    {"PLBartForConditionalGeneration", false, true, false},
    {"MBartForConditionalGeneration", true, true, false},
    {"MarianMTModel", false, false, true},
    {"PegasusForConditionalGeneration", true, false, true},
    {"BartForSequenceClassification", false, true, false},
}};
constexpr std::int64_t kUnusedPositions = 2;
constexpr double kEpsilon = 1e-5;  // No configuration has a key for it.

constexpr std::array<ConfigKey, 11> kKeys = {{
    {"vocab_size", "decoder_vocab_size", "", false},
    {"encoder.vocab_size", "vocab_size", ""},
    {"dim", "d_model", ""},
    {"encoder.n_layers", "encoder_layers", ""},
    {"encoder.n_heads", "encoder_attention_heads", ""},
    {"encoder.ffn_dim", "encoder_ffn_dim", ""},
    {"n_layers", "decoder_layers", ""},
    {"n_heads", "decoder_attention_heads", ""},
    {"ffn_dim", "decoder_ffn_dim", ""},
    {"max_seq_len", "max_position_embeddings", ""},
    {"decoder_start_token_id", "decoder_start_token_id", "", false},
}};

Result<Variant> variant_of(const Config& source) {
  for (const ConfigValue& value : source.list("architectures")) {
    for (const Variant& variant : kVariants) {
      const auto* name = std::get_if<std::string>(&value);
      if (name != nullptr && *name == variant.hf_class) return variant;
    }
  }
  return Error(ErrorCode::kUnsupported, "this class of the family is not implemented")
      .of("architectures");
}

Status set_head_dim(Config& config, const std::string& prefix) {
  QUERN_TRY(dim, evaluate_dimension("dim", config));
  QUERN_TRY(n_heads, evaluate_dimension(prefix + "n_heads", config));
  QUERN_TRY(head_dim, head_width(dim, n_heads, prefix + "n_heads"));
  config.set(prefix + "head_dim", head_dim);
  return {};
}

Status read_embedding(const Config& source, const Variant& variant, Config& config) {
  QUERN_TRY(shared, source.boolean_or("share_encoder_decoder_embeddings", true));
  QUERN_TRY(tied, source.boolean_or("tie_word_embeddings", true));
  QUERN_TRY(scaled, source.boolean_or("scale_embedding", false));
  QUERN_TRY(dim, evaluate_dimension("dim", config));
  QUERN_TRY(n_positions, evaluate_dimension("max_seq_len", config));
  if (shared || !config.has("vocab_size"))
    config.set("vocab_size", *config.find("encoder.vocab_size"));
  config.set("own_embedding", !shared || !tied);
  config.set("embed_scale", scaled ? std::sqrt(static_cast<double>(dim)) : 1.0);
  config.set("embed_norm", variant.embed_norm);
  config.set("learned_positions", !variant.sinusoids);
  config.set("position_offset", variant.sinusoids ? 0 : kUnusedPositions);
  config.set("n_positions", n_positions + (variant.sinusoids ? 0 : kUnusedPositions));
  return {};
}

}  // namespace

Result<Config> read_bart_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_keys(kKeys, source, kind, ""));
  QUERN_TRY(variant, variant_of(source));
  QUERN_TRY(activation, source.string_or("activation_function", "gelu"));
  QUERN_TRY(canonical, canonical_activation(activation));
  config.set("activation", canonical);
  config.set("norm_eps", kEpsilon);
  config.set("norm_first", variant.norm_first);
  QUERN_CHECK(set_head_dim(config, ""));
  QUERN_CHECK(set_head_dim(config, "encoder."));
  QUERN_CHECK(read_embedding(source, variant, config));
  config.set("architecture", std::string("bart"));
  return config;
}

Result<EncoderDecoderLayout> read_bart_layout(const Config& config) {
  EncoderDecoderLayout layout;
  QUERN_TRY(norm_first, config.boolean("norm_first"));
  QUERN_TRY(embed_norm, config.boolean("embed_norm"));
  QUERN_TRY(own_embedding, config.boolean("own_embedding"));
  QUERN_TRY(learned, config.boolean("learned_positions"));
  QUERN_TRY(embed_scale, config.number("embed_scale"));
  QUERN_TRY(n_positions, evaluate_dimension("n_positions", config));
  QUERN_TRY(offset, config.integer("position_offset"));
  layout.norm = NormKind::kLayer;
  layout.norm_first = norm_first;
  layout.embed_norm = embed_norm;
  layout.shared_embedding = !own_embedding;
  layout.sinusoids = !learned;
  layout.embed_scale = static_cast<float>(embed_scale);
  if (learned) layout.position_rows = n_positions;
  layout.position_offset = offset;
  return layout;
}

}  // namespace quern::models
