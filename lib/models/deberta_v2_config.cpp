#include "models/deberta_v2_config.h"

#include <algorithm>

#include "models/encoder_config.h"

namespace quern::models {
namespace {

constexpr double kEpsilon = 1e-7;  // Where the configuration is silent.

/// Sets whether `word` is one of the kinds of attention: "c2p" or "p2c".
void read_kind(const Config& source, const char* word, const char* key, Config& config) {
  bool has = false;
  for (const ConfigValue& value : source.list("pos_att_type")) {
    const auto* text = std::get_if<std::string>(&value);
    has = has || (text != nullptr && text->find(word) != std::string::npos);  // "p2c|c2p" is one.
  }
  config.set(key, has);
}

Status read_relative(const Config& source, Config& config) {
  QUERN_TRY(relative, source.boolean_or("relative_attention", false));
  QUERN_TRY(shared, source.boolean_or("share_att_key", false));
  QUERN_TRY(buckets, source.integer_or("position_buckets", -1));
  QUERN_TRY(distance, source.integer_or("max_relative_positions", -1));
  QUERN_TRY(n_positions, config.integer("n_positions"));
  if (distance < 1) distance = n_positions;
  QUERN_TRY(norms, source.string_or("norm_rel_ebd", "none"));
  read_kind(source, "c2p", "relative.keys", config);
  read_kind(source, "p2c", "relative.queries", config);
  const bool own = relative && !shared;
  config.set("relative.own_keys", own && *config.boolean("relative.keys"));
  config.set("relative.own_queries", own && *config.boolean("relative.queries"));
  config.set("relative", relative);
  config.set("relative.norm", relative && norms.find("layer_norm") != std::string::npos);
  config.set("relative.n_buckets", std::max<std::int64_t>(buckets, 0));
  config.set("relative.max_distance", distance);
  config.set("relative.span", buckets > 0 ? buckets : distance);
  return {};
}

}  // namespace

Result<Config> read_deberta_v2_config(const Config& source, SourceKind kind) {
  QUERN_CHECK(refuse(source, "conv_kernel_size", "the convolution of DeBERTa is not implemented"));
  QUERN_TRY(config, read_encoder_config(source, kind, bert_keys(), "", "hidden_act"));
  if (!source.has("layer_norm_eps")) config.set("norm_eps", kEpsilon);
  QUERN_TRY(n_types, config.integer_or("n_types", 0));
  QUERN_TRY(positions, source.boolean_or("position_biased_input", true));
  QUERN_TRY(dim, config.integer("dim"));
  QUERN_TRY(embed_dim, source.integer_or("embedding_size", dim));
  QUERN_CHECK(read_head(source, config));
  QUERN_TRY(pools, config.boolean("head.sequence"));
  for (const auto& [key, only, reads] :
       {std::tuple("pooler_hidden_size", dim, pools),
        std::tuple("attention_head_size", *config.integer("head_dim"), true)}) {
    QUERN_TRY(found, source.integer_or(key, only));
    if (reads && found != only)
      return Error(ErrorCode::kUnsupported, "this width is not implemented for DeBERTa")
          .of(key)
          .want(std::to_string(only))
          .got(std::to_string(found));
  }
  config.set("n_types", n_types);
  config.set("has_types", n_types > 0);
  config.set("has_positions", positions);
  config.set("embed_dim", embed_dim);
  config.set("has_embed_proj", embed_dim != dim);
  QUERN_CHECK(read_relative(source, config));
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  if (masked_lm) config.set("head_width", embed_dim);
  QUERN_TRY(activation, source.string_or(masked_lm ? "hidden_act" : "pooler_hidden_act", "gelu"));
  QUERN_TRY(canonical, canonical_activation(activation));
  config.set("head.activation", canonical);
  config.set("architecture", std::string("deberta_v2"));
  return config;
}

}  // namespace quern::models
