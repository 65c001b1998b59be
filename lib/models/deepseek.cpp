#include "models/deepseek.h"

#include <cmath>

#include "models/rope_config.h"
#include "models/rope_scaling.h"

namespace quern::models {
namespace {

constexpr double kExact = 1e-9;  // Differences below are of rounding.

DecoderSpelling spelling(std::string_view experts_key) {
  const ConfigValue none(std::int64_t{0});
  DecoderSpelling s{kDeepseekGguf};
  s.keys = {
      {"head_dim", "qk_rope_head_dim", "rope.dimension_count"},
      {"kv_rank", "kv_lora_rank", "attention.kv_lora_rank"},
      {"q_rank", "q_lora_rank", "attention.q_lora_rank", false},
      {"plain_dim", "qk_nope_head_dim", ""},
      {"value_dim", "v_head_dim", ""},
      {"n_experts", experts_key, "expert_count"},
      {"n_experts_used", "num_experts_per_tok", "expert_used_count"},
      {"expert_ffn_dim", "moe_intermediate_size", "expert_feed_forward_length"},
      {"normalise_experts", "norm_topk_prob", "expert_weights_norm", false, ConfigValue(false)},
      {"n_shared_experts", "n_shared_experts", "expert_shared_count", false, none},
      {"first_sparse_layer", "first_k_dense_replace", "leading_dense_block_count", false, none},
      {"expert_scale", "routed_scaling_factor", "expert_weights_scale", false, ConfigValue(1.0)},
      {"n_expert_groups", "", "expert_group_count", false},
      {"n_expert_groups_used", "", "expert_group_used_count", false},
      {"rope.interleaved", "", "rope.interleaved", false},
      {"bias.attention", "attention_bias", "", false}};
  return s;
}

/// Rows of every head's part in a projection of both, in both kinds of source.
TensorRule part(TensorRule rule, std::string_view first, std::string_view run,
                std::string_view stride, std::string_view total) {
  rule.hf_slice = rule.gguf_slice = {first, run, stride, total};
  return rule;
}

/// Rotated rows, which GGUF keeps as neighbour pairs.
TensorRule rotated(TensorRule rule) {
  rule.gguf_transform = Transform::kRopeRows;
  rule.gguf_transform_unless = "rope.interleaved";
  return rule;
}

TensorRule when(TensorRule rule, std::string_view key) {
  rule.when = key;
  return rule;
}

/// Queries straight from the input, or from their own latent.
void add_queries(std::vector<TensorRule>& rules) {
  constexpr std::string_view kStride = "plain_dim+head_dim";
  constexpr std::string_view kTotal = "n_heads*plain_dim+n_heads*head_dim";
  const auto both = [&](const std::string& hf, std::string_view gguf, std::string_view cols,
                        std::string_view key) {
    const auto matrix = [&](std::string_view name, std::string_view rows) {
      return when(matrix_rule(name, hf, gguf, rows, cols), key);
    };
    rules.push_back(
        part(matrix("layers.{}.wq_plain", "n_heads*plain_dim"), "", "plain_dim", kStride, kTotal));
    rules.push_back(rotated(part(matrix("layers.{}.wq_rotated", "n_heads*head_dim"), "plain_dim",
                                 "head_dim", kStride, kTotal)));
  };
  const std::string a = "layers.{}.self_attn.q_a_proj", norm = "layers.{}.self_attn.q_a_layernorm";
  both("layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", "dim", "!narrow_queries");
  rules.push_back(
      when(matrix_rule("layers.{}.wq_a", a + ".weight", "blk.{}.attn_q_a.weight", "q_rank", "dim"),
           "narrow_queries"));
  rules.push_back(
      when(bias_rule("layers.{}.wq_a.bias", a + ".bias", "blk.{}.attn_q_a.bias", "q_rank"),
           "bias.narrow_queries"));
  rules.push_back(when(
      norm_rule("layers.{}.q_a_norm", norm + ".weight", "blk.{}.attn_q_a_norm.weight", "q_rank"),
      "narrow_queries"));
  both("layers.{}.self_attn.q_b_proj.weight", "blk.{}.attn_q_b.weight", "q_rank", "narrow_queries");
}

/// The latent of keys and values, and the rotated part of keys.
void add_latent(std::vector<TensorRule>& rules) {
  const std::string a = "layers.{}.self_attn.kv_a_proj_with_mqa";
  constexpr std::string_view kWeight = "blk.{}.attn_kv_a_mqa.weight";
  constexpr std::string_view kBias = "blk.{}.attn_kv_a_mqa.bias";
  const auto rows = [](TensorRule rule, std::string_view first) {
    return part(std::move(rule), first, "", "", "kv_rank+head_dim");
  };
  rules.push_back(
      rows(matrix_rule("layers.{}.wkv_a", a + ".weight", kWeight, "kv_rank", "dim"), ""));
  rules.push_back(when(rows(bias_rule("layers.{}.wkv_a.bias", a + ".bias", kBias, "kv_rank"), ""),
                       "bias.attention"));
  rules.push_back(rotated(rows(
      matrix_rule("layers.{}.wk_rotated", a + ".weight", kWeight, "head_dim", "dim"), "kv_rank")));
  rules.push_back(
      when(rotated(rows(bias_rule("layers.{}.wk_rotated.bias", a + ".bias", kBias, "head_dim"),
                        "kv_rank")),
           "bias.attention"));
  rules.push_back(norm_rule("layers.{}.kv_a_norm", "layers.{}.self_attn.kv_a_layernorm.weight",
                            "blk.{}.attn_kv_a_norm.weight", "kv_rank"));
}

/// What unfolds the latent. GGUF keeps keys and values as a matrix per head each, that of keys
/// transposed; older files have them as Hugging Face does.
void add_unfolding(std::vector<TensorRule>& rules) {
  const std::string b = "layers.{}.self_attn.kv_b_proj.weight";
  const auto half = [&](std::string_view name, std::string_view gguf, std::string_view n,
                        std::string_view rows, std::string_view first) {
    TensorRule rule = matrix_rule(name, b, gguf, rows, "kv_rank");
    rule.hf_slice = {first, n, "plain_dim+value_dim", "n_heads*plain_dim+n_heads*value_dim"};
    rule.gguf_parts = "n_heads";
    rule.older_gguf = "blk.{}.attn_kv_b.weight";
    rule.older_gguf_slice = rule.hf_slice;
    return rule;
  };
  rules.push_back(
      half("layers.{}.wk_plain", "blk.{}.attn_k_b.weight", "plain_dim", "n_heads*plain_dim", ""));
  rules.back().gguf_transform = Transform::kTranspose;
  rules.push_back(half("layers.{}.wv", "blk.{}.attn_v_b.weight", "value_dim", "n_heads*value_dim",
                       "plain_dim"));
}

void add_output(std::vector<TensorRule>& rules) {
  const std::string o = "layers.{}.self_attn.o_proj";
  rules.push_back(matrix_rule("layers.{}.wo", o + ".weight", "blk.{}.attn_output.weight", "dim",
                              "n_heads*value_dim"));
  rules.push_back(
      when(bias_rule("layers.{}.wo.bias", o + ".bias", "blk.{}.attn_output.bias", "dim"),
           "bias.attention"));
}

/// Where a GGUF file has the keys that Hugging Face has, as read_keys wants them.
Result<Config> gguf_source(const Config& published) {
  Config source = published;
  const std::string stem = std::string(kDeepseekGguf) + ".";
  QUERN_TRY(q_rank, source.integer_or(stem + "attention.q_lora_rank", 0));
  if (q_rank == 0) source.set(stem + "attention.q_lora_rank", {});
  QUERN_TRY(n_layers, source.integer(stem + "block_count"));
  QUERN_TRY(n_more, source.integer_or(stem + "nextn_predict_layers", 0));
  if (n_more < 0 || n_more >= n_layers)
    return Error(ErrorCode::kOutOfRange, "the number of layers is out of range")
        .of(stem + "nextn_predict_layers");
  source.set(stem + "block_count", n_layers - n_more);
  return source;
}

/// The widths of a head's parts, and which layout the file has.
Status read_gguf_heads(const Config& source, Config& config) {
  const std::string stem = std::string(kDeepseekGguf) + ".attention.";
  const bool unfolded = source.has(stem + "key_length_mla");
  QUERN_TRY(whole, source.integer(stem + (unfolded ? "key_length_mla" : "key_length")));
  QUERN_TRY(value_dim, source.integer(stem + (unfolded ? "value_length_mla" : "value_length")));
  QUERN_TRY(head_dim, config.integer("head_dim"));
  if (whole <= head_dim)
    return Error(ErrorCode::kOutOfRange, "a head has no part that is not rotated")
        .of(stem + (unfolded ? "key_length_mla" : "key_length"))
        .want("more than " + std::to_string(head_dim))
        .got(std::to_string(whole));
  config.set("plain_dim", whole - head_dim);
  config.set("value_dim", value_dim);
  config.set("older_gguf", source.has("blk.0.attn_kv_b.weight"));
  return {};
}

bool is_yarn(const Config& config) {
  const ConfigValue* type = config.find("rope.type");
  return type != nullptr && *type == ConfigValue(std::string("yarn"));
}

/// GGUF's factors multiply the scores too: M = F · (1 + L/10 · ln(factor)), of which F is for cos
/// and sin; without L, F has YaRN's own factor in it. Hugging Face says M by `mscale_all_dim`.
Status read_gguf_yarn(const Config& source, Config& config) {
  if (!is_yarn(config)) return {};
  const std::string stem = std::string(kDeepseekGguf) + ".rope.scaling.";
  QUERN_TRY(factor, config.number("rope.factor"));
  QUERN_TRY(turned, source.number_or(stem + "attn_factor", 1.0));
  QUERN_TRY(log_multiplier, source.number_or(stem + "yarn_log_multiplier", 0.0));
  const double unit = yarn_mscale(factor, 1.0) - 1.0, slope = log_multiplier / 0.1;
  if (log_multiplier == 0.0) turned *= 1.0 + unit;
  QUERN_TRY(exact, source.number_or(stem + "yarn_attention_factor", turned));  // quern's own.
  turned = exact;
  config.set("rope.attention_factor", turned);
  double all_dim = slope;
  if (unit > 0 && std::fabs(turned - 1.0) > kExact)
    all_dim = (turned * (1.0 + slope * unit) - 1.0) / unit;
  QUERN_TRY(said, source.number_or(stem + "mscale_all_dim", all_dim));
  if (said != 0.0) config.set("rope.mscale_all_dim", said);
  return {};
}

Status write_gguf_yarn(const Config& config, Config& out) {
  if (!is_yarn(config)) return {};
  const std::string stem = std::string(kDeepseekGguf) + ".rope.scaling.";
  QUERN_TRY(factor, config.number("rope.factor"));
  QUERN_TRY(turned, config.number("rope.attention_factor"));
  QUERN_TRY(all_dim, config.number_or("rope.mscale_all_dim", 0.0));
  const double unit = yarn_mscale(factor, 1.0) - 1.0;
  double slope = all_dim;
  if (unit > 0 && std::fabs(turned - 1.0) > kExact) {
    slope = ((1.0 + all_dim * unit) / turned - 1.0) / unit;
    out.set(stem + "mscale_all_dim", all_dim);  // Exactly, for quern.
  }
  if (std::fabs(slope) <= kExact) {
    out.set(stem + "attn_factor", turned / (1.0 + unit));
    return {};
  }
  out.set(stem + "attn_factor", turned);
  out.set(stem + "yarn_log_multiplier", 0.1 * slope);
  return {};
}

}  // namespace

Result<Config> read_deepseek_config(const Config& published, SourceKind kind,
                                    std::string_view experts_key) {
  const bool gguf = kind == SourceKind::kGguf;
  QUERN_TRY(source, gguf ? gguf_source(published) : Result<Config>(published));
  QUERN_TRY(config, read_decoder_config(source, kind, spelling(experts_key)));
  QUERN_CHECK(read_rope(source, kind, {kDeepseekGguf}, config));
  if (gguf) {
    QUERN_CHECK(read_gguf_heads(source, config));
    QUERN_CHECK(read_gguf_yarn(source, config));
  }
  config.set("n_kv_heads", *config.find("n_heads"));
  QUERN_TRY(n_shared, config.integer("n_shared_experts"));
  QUERN_TRY(expert_ffn_dim, config.integer("expert_ffn_dim"));
  if (n_shared < 0 || n_shared > 65536 || expert_ffn_dim < 1 || expert_ffn_dim > (1 << 24))
    return Error(ErrorCode::kOutOfRange, "the experts are out of range").of("n_shared_experts");
  config.set("shared_ffn_dim", n_shared * expert_ffn_dim);
  QUERN_TRY(first, config.integer("first_sparse_layer"));
  QUERN_TRY(n_layers, config.integer("n_layers"));
  if (n_layers < 1 || n_layers > 4096)
    return Error(ErrorCode::kOutOfRange, "the number of layers is out of range").of("n_layers");
  ConfigList layers;
  for (std::int64_t i = 0; i < n_layers; ++i) layers.emplace_back(i >= first);
  config.set("mixture_layers", std::move(layers));
  // A GGUF file has biases or not, whatever it says.
  QUERN_TRY(bias,
            config.boolean_or("bias.attention", gguf && source.has("blk.0.attn_output.bias")));
  const bool narrow = config.has("q_rank");
  config.set("bias.attention", bias);
  config.set("narrow_queries", narrow);
  config.set("bias.narrow_queries", narrow && bias);
  return config;
}

Result<Config> write_deepseek_gguf_config(const Config& config, std::int64_t gating) {
  QUERN_TRY(out, write_gguf_decoder_config(config, spelling({})));
  QUERN_CHECK(write_gguf_rope(config, kDeepseekGguf, out));
  QUERN_CHECK(write_gguf_yarn(config, out));
  QUERN_TRY(n_heads, config.integer("n_heads"));
  QUERN_TRY(kv_rank, config.integer("kv_rank"));
  QUERN_TRY(q_rank, config.integer_or("q_rank", 0));
  QUERN_TRY(plain, config.integer("plain_dim"));
  QUERN_TRY(rotated_dim, config.integer("head_dim"));
  QUERN_TRY(value_dim, config.integer("value_dim"));
  QUERN_TRY(rope_dim, config.integer_or("rope.dim", rotated_dim));
  QUERN_TRY(older, config.boolean_or("older_gguf", false));
  if (rope_dim != rotated_dim)
    return Error(ErrorCode::kUnsupported,
                 "GGUF has no latent attention with rows that turn in part")
        .of("rope.dim")
        .want(std::to_string(rotated_dim))
        .got(std::to_string(rope_dim));
  const std::string stem = std::string(kDeepseekGguf) + ".";
  const auto set = [&](const char* key, std::int64_t value) { out.set(stem + key, value); };
  set("attention.q_lora_rank", q_rank);
  set("attention.head_count_kv", older ? n_heads : 1);
  set("attention.key_length", older ? plain + rotated_dim : kv_rank + rotated_dim);
  set("attention.value_length", older ? value_dim : kv_rank);
  if (!older) {
    set("attention.key_length_mla", plain + rotated_dim);
    set("attention.value_length_mla", value_dim);
  }
  set("expert_gating_func", gating);
  return out;
}

Status read_deepseek_layout(const Config& config, DecoderLayout& layout) {
  QUERN_TRY(kv_rank, config.integer("kv_rank"));
  QUERN_TRY(q_rank, config.integer_or("q_rank", 0));
  QUERN_TRY(plain, config.integer("plain_dim"));
  QUERN_TRY(rotated, config.integer("head_dim"));
  QUERN_TRY(value_dim, config.integer("value_dim"));
  for (const std::int64_t n : {kv_rank, plain, rotated, value_dim}) {
    if (n < 1 || n > 65536 || q_rank < 0 || q_rank > 65536)
      return Error(ErrorCode::kOutOfRange, "a width of latent attention is out of range")
          .of("kv_rank");
  }
  layout.latent = {kv_rank, q_rank, plain, rotated, value_dim};
  double scale = 1.0 / std::sqrt(static_cast<double>(plain + rotated));
  QUERN_TRY(all_dim, config.number_or("rope.mscale_all_dim", 0.0));
  if (all_dim != 0.0) {
    QUERN_TRY(factor, config.number("rope.factor"));
    const double mscale = yarn_mscale(factor, all_dim);
    scale *= mscale * mscale;
  }
  layout.attention.scale = static_cast<float>(scale);
  QUERN_TRY(mixture, read_mixture(config));
  QUERN_TRY(expert_scale, config.number_or("expert_scale", 1.0));
  QUERN_TRY(n_groups, config.integer_or("n_expert_groups", 1));
  QUERN_TRY(n_used_groups, config.integer_or("n_expert_groups_used", 1));
  layout.mixture = std::move(mixture);
  layout.mixture.route.scale = static_cast<float>(expert_scale);
  layout.mixture.route.n_groups = n_groups;
  layout.mixture.route.n_used_groups = n_used_groups;
  return {};
}

std::vector<TensorRule> deepseek_tensors(std::vector<TensorRule> in_layer) {
  add_queries(in_layer);
  add_latent(in_layer);
  add_unfolding(in_layer);
  add_output(in_layer);
  MixtureTable mixture;
  mixture.shared = "layers.{}.mlp.shared_experts";
  return sparse_decoder_tensors({.wq = "", .wk = "", .wv = "", .wo = ""}, mixture,
                                std::move(in_layer));
}

}  // namespace quern::models
