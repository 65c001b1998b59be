#include "models/rope_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/scalar_math.h"
#include "models/config_io.h"
#include "models/rope_scaling.h"

namespace quern::models {
namespace {

constexpr double kDefaultTheta = 10000.0;
/// quern's own, behind "<arch>.rope.": whether YaRN's bounds are rounded, as llama.cpp has them.
constexpr std::string_view kTruncates = "scaling.yarn_truncate";
/// Likewise: what cos and sin are multiplied by, to the last bit, where YaRN does not imply it.
constexpr std::string_view kAttentionFactor = "scaling.yarn_attention_factor";

/// Scaling values by canonical name (after "rope."), Hugging Face name, and what absence means
/// (0: the value must be there).
struct ScalingKey {
  std::string_view type, ours, theirs;
  double fallback;
};
constexpr std::array<ScalingKey, 10> kScalingKeys = {{
    {"linear", "factor", "factor", 0},
    {"llama3", "factor", "factor", 0},
    {"llama3", "low_freq_factor", "low_freq_factor", 0},
    {"llama3", "high_freq_factor", "high_freq_factor", 0},
    {"yarn", "beta_fast", "beta_fast", 32},
    {"yarn", "beta_slow", "beta_slow", 1},
    {"yarn", "mscale", "mscale", -1},
    {"yarn", "mscale_all_dim", "mscale_all_dim", -1},
    // Latent attention scales its scores by it whatever the type.
    {"linear", "mscale_all_dim", "mscale_all_dim", -1},
    {"llama3", "mscale_all_dim", "mscale_all_dim", -1},
}};

/// Where Hugging Face keeps the scaling values: rope_parameters.<section>., rope_parameters. or
/// rope_scaling., which transformers takes where a configuration has both.
std::string scaling_prefix(const Config& source, std::string_view section) {
  const std::string nested = "rope_parameters." + std::string(section) + ".";
  if (!section.empty() && (source.has(nested + "rope_theta") || source.has(nested + "rope_type")))
    return nested;
  if (source.has("rope_scaling.rope_type") || source.has("rope_scaling.type"))
    return "rope_scaling.";
  if (source.has("rope_parameters.rope_theta") || source.has("rope_parameters.rope_type"))
    return "rope_parameters.";
  return "rope_scaling.";
}

Status read_dimensions(const Config& source, const RopeSpelling& spelling,
                       const std::string& prefix, Config& config) {
  QUERN_TRY(top_theta, source.number_or(spelling.hf_theta, spelling.theta));
  QUERN_TRY(theta, source.number_or(prefix + "rope_theta", top_theta));
  QUERN_TRY(top_partial, source.number_or(spelling.hf_partial, spelling.partial));
  QUERN_TRY(partial, source.number_or(prefix + "partial_rotary_factor", top_partial));
  QUERN_TRY(head_dim, config.integer("head_dim"));
  if (!(partial > 0 && partial <= 1)) {
    return Error(ErrorCode::kOutOfRange, "the rotated part of a head is none")
        .of(std::string(spelling.hf_partial))
        .want("more than 0, at most 1")
        .got(std::to_string(partial));
  }
  config.set("rope.theta", theta);
  config.set("rope.dim", static_cast<std::int64_t>(static_cast<double>(head_dim) * partial));
  return {};
}

/// The length that the scaled model was first trained with.
Result<double> original_length(const Config& source, const std::string& prefix,
                               const Config& config) {
  QUERN_TRY(max_seq_len, config.number("max_seq_len"));
  QUERN_TRY(nested, source.number_or(prefix + "original_max_position_embeddings", max_seq_len));
  return source.number_or("original_max_position_embeddings", nested);
}

Status copy_factors(const Config& source, const std::string& from, const std::string& to,
                    Config& config) {
  const ConfigList factors = source.list(from);
  if (factors.empty())
    return Error(ErrorCode::kMissing, "the configuration lacks a list of rope factors").of(from);
  config.set(to, factors);
  return {};
}

/// What YaRN and LongRoPE multiply cos and sin with, where the checkpoint does not say.
Status read_attention_factor(const Config& source, const std::string& prefix,
                             const std::string& type, Config& config) {
  QUERN_TRY(original, original_length(source, prefix, config));
  QUERN_TRY(max_seq_len, config.number("max_seq_len"));
  if (!(original > 0))
    return Error(ErrorCode::kOutOfRange, "a length is not positive").of("rope original length");
  QUERN_TRY(factor, source.number_or(prefix + "factor", max_seq_len / original));
  config.set("rope.original_max_seq_len", original);
  config.set("rope.factor", factor);
  double implied = 1.0;
  if (type == "yarn") {
    QUERN_TRY(mscale, source.number_or(prefix + "mscale", 0.0));
    QUERN_TRY(all_dim, source.number_or(prefix + "mscale_all_dim", 0.0));
    const bool both = mscale != 0.0 && all_dim != 0.0;
    implied = both ? yarn_mscale(factor, mscale) / yarn_mscale(factor, all_dim)
                   : yarn_mscale(factor, 1.0);
  } else if (factor > 1.0) {
    implied = std::sqrt(1.0 + base::log(factor) / base::log(original));
  }
  QUERN_TRY(attention_factor, source.number_or(prefix + "attention_factor", implied));
  config.set("rope.attention_factor", attention_factor);
  return {};
}

Status read_hf(const Config& source, const RopeSpelling& spelling, Config& config) {
  const std::string prefix = scaling_prefix(source, spelling.section);
  QUERN_CHECK(read_dimensions(source, spelling, prefix, config));
  QUERN_TRY(old_type, source.string_or(prefix + "type", "default"));
  QUERN_TRY(type, source.string_or(prefix + "rope_type", old_type));
  if (type == "su") type = "longrope";
  if (type == "default" || type == "dynamic") type = "none";
  if (std::find(kRopeTypes.begin(), kRopeTypes.end(), type) == kRopeTypes.end()) {
    return Error(ErrorCode::kUnsupported, "a kind of rope scaling is not implemented")
        .of(prefix + "rope_type")
        .want("default, linear, dynamic, llama3, yarn or longrope")
        .got(type);
  }
  config.set("rope.type", type);
  for (const ScalingKey& key : kScalingKeys) {
    if (key.type != type) continue;
    const std::string name = prefix + std::string(key.theirs);
    if (key.fallback < 0 && !source.has(name)) continue;
    QUERN_TRY(value,
              key.fallback != 0 ? source.number_or(name, key.fallback) : source.number(name));
    config.set("rope." + std::string(key.ours), value);
  }
  if (type == "llama3") {
    QUERN_TRY(original, original_length(source, prefix, config));
    config.set("rope.original_max_seq_len", original);
  }
  if (type == "yarn" || type == "longrope")
    QUERN_CHECK(read_attention_factor(source, prefix, type, config));
  if (type == "yarn") {
    QUERN_TRY(truncate, source.boolean_or(prefix + "truncate", true));
    config.set("rope.truncate", truncate);
  }
  if (type == "longrope") {
    QUERN_CHECK(copy_factors(source, prefix + "long_factor", "rope.long_factors", config));
    QUERN_CHECK(copy_factors(source, prefix + "short_factor", "rope.factors", config));
  }
  return {};
}

/// The types that GGUF names, with what belongs to them.
Status read_gguf_scaling(const Config& source, const std::string& prefix, const std::string& type,
                         Config& config) {
  if (type != "none" && type != "linear" && type != "yarn" && type != "longrope") {
    return Error(ErrorCode::kUnsupported, "a kind of rope scaling is not implemented")
        .of(prefix + "scaling.type")
        .want("none, linear, yarn or longrope")
        .got(type);
  }
  config.set("rope.type", type);
  QUERN_TRY(factor, source.number_or(prefix + "scaling.factor", 1.0));
  if (type == "linear") config.set("rope.factor", factor);
  if (type != "yarn" && type != "longrope") return {};
  QUERN_TRY(max_seq_len, config.number("max_seq_len"));
  QUERN_TRY(original, source.number_or(prefix + "scaling.original_context_length", max_seq_len));
  config.set("rope.original_max_seq_len", original);
  config.set("rope.factor", factor);
  if (type == "yarn") {
    QUERN_TRY(fast, source.number_or(prefix + "scaling.yarn_beta_fast", 32.0));
    QUERN_TRY(slow, source.number_or(prefix + "scaling.yarn_beta_slow", 1.0));
    QUERN_TRY(truncates, source.boolean_or(prefix + std::string(kTruncates), true));
    config.set("rope.truncate", truncates);
    // GGUF's factor stands beside YaRN's own.
    QUERN_TRY(attention, source.number_or(prefix + "scaling.attn_factor", 1.0));
    config.set("rope.beta_fast", fast);
    config.set("rope.beta_slow", slow);
    QUERN_TRY(said, source.number_or(prefix + std::string(kAttentionFactor),
                                     attention * yarn_mscale(factor, 1.0)));
    config.set("rope.attention_factor", said);
    return {};
  }
  QUERN_TRY(attention, source.number_or(prefix + "scaling.attn_factor", 1.0));
  config.set("rope.attention_factor", attention);
  QUERN_CHECK(copy_factors(source, "rope_factors_long.weight", "rope.long_factors", config));
  return copy_factors(source, "rope_factors_short.weight", "rope.factors", config);
}

Status read_gguf(const Config& source, const RopeSpelling& spelling, Config& config) {
  const std::string prefix = std::string(spelling.gguf_arch) + ".rope.";
  QUERN_TRY(theta, source.number_or(prefix + "freq_base", kDefaultTheta));
  QUERN_TRY(head_dim, config.integer("head_dim"));
  QUERN_TRY(dim, source.integer_or(prefix + "dimension_count", head_dim));
  config.set("rope.theta", theta);
  config.set("rope.dim", dim);
  const bool longrope = source.has("rope_factors_long.weight");
  QUERN_TRY(type, source.string_or(prefix + "scaling.type", longrope ? "longrope" : "none"));
  const ConfigList factors = source.list("rope_freqs.weight");
  if (factors.empty()) return read_gguf_scaling(source, prefix, type, config);
  if (type != "none") {
    return Error(ErrorCode::kUnsupported,
                 "rope scaling together with frequency factors is not implemented")
        .of(prefix + "scaling.type")
        .got(type);
  }
  config.set("rope.type", std::string("factors"));
  config.set("rope.factors", factors);
  return {};
}

Status write_yarn(const Config& config, const std::string& prefix, Config& out) {
  QUERN_TRY(truncate, config.boolean_or("rope.truncate", true));
  QUERN_TRY(factor, config.number("rope.factor"));
  QUERN_TRY(attention, config.number("rope.attention_factor"));
  QUERN_TRY(fast, config.number_or("rope.beta_fast", 32.0));
  QUERN_TRY(slow, config.number_or("rope.beta_slow", 1.0));
  if (!truncate) out.set(prefix + std::string(kTruncates), false);
  out.set(prefix + "scaling.yarn_beta_fast", fast);
  out.set(prefix + "scaling.yarn_beta_slow", slow);
  const double implied = yarn_mscale(factor, 1.0);
  out.set(prefix + "scaling.attn_factor", attention / implied);
  if (attention != implied) out.set(prefix + std::string(kAttentionFactor), attention);
  return {};
}

}  // namespace

Status read_rope(const Config& source, SourceKind kind, const RopeSpelling& spelling,
                 Config& config) {
  return kind == SourceKind::kHuggingFace ? read_hf(source, spelling, config)
                                          : read_gguf(source, spelling, config);
}

Status write_gguf_rope(const Config& config, std::string_view gguf_arch, Config& out) {
  const std::string prefix = std::string(gguf_arch) + ".rope.";
  QUERN_TRY(theta, config.number_or("rope.theta", kDefaultTheta));
  QUERN_TRY(type, config.string_or("rope.type", "none"));
  QUERN_TRY(head_dim, config.integer("head_dim"));
  QUERN_TRY(dim, config.integer_or("rope.dim", head_dim));
  out.set(prefix + "freq_base", theta);
  out.set(prefix + "dimension_count", dim);
  if (type == "llama3" || type == "factors") {
    QUERN_TRY(values, rope_divisors(config, plain_frequencies(theta, dim)));
    out.set("rope_freqs.weight", ConfigList(values.begin(), values.end()));
    return {};
  }
  if (type == "none") return {};
  out.set(prefix + "scaling.type", type);
  if (type != "longrope") {  // Whose factors are all in its lists.
    QUERN_TRY(factor, config.number("rope.factor"));
    out.set(prefix + "scaling.factor", factor);
  }
  if (type == "linear") return {};
  QUERN_TRY(original, config.number("rope.original_max_seq_len"));
  out.set(prefix + "scaling.original_context_length", static_cast<std::int64_t>(original));
  if (type == "yarn") return write_yarn(config, prefix, out);
  QUERN_TRY(attention, config.number("rope.attention_factor"));
  out.set(prefix + "scaling.attn_factor", attention);
  out.set("rope_factors_long.weight", config.list("rope.long_factors"));
  out.set("rope_factors_short.weight", config.list("rope.factors"));
  return {};
}

}  // namespace quern::models
