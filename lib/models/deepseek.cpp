#include "models/deepseek.h"

#include <cmath>

#include "models/rope_config.h"
#include "models/rope_scaling.h"

namespace quern::models {
namespace {

DecoderSpelling spelling(std::string_view experts_key) {
  DecoderSpelling s;
  s.keys = {
      {"head_dim", "qk_rope_head_dim", ""},
      {"kv_rank", "kv_lora_rank", ""},
      {"q_rank", "q_lora_rank", "", false},
      {"plain_dim", "qk_nope_head_dim", ""},
      {"value_dim", "v_head_dim", ""},
      {"n_experts", experts_key, ""},
      {"n_experts_used", "num_experts_per_tok", ""},
      {"expert_ffn_dim", "moe_intermediate_size", ""},
      {"normalise_experts", "norm_topk_prob", "", false, ConfigValue(false)},
      {"n_shared_experts", "n_shared_experts", "", false, ConfigValue(std::int64_t{0})},
      {"first_sparse_layer", "first_k_dense_replace", "", false, ConfigValue(std::int64_t{0})},
      {"expert_scale", "routed_scaling_factor", "", false, ConfigValue(1.0)},
      {"bias.attention", "attention_bias", "", false, ConfigValue(false)}};
  return s;
}

/// Rows of every head's part in a projection of both.
TensorRule part(TensorRule rule, std::string_view first, std::string_view run,
                std::string_view stride, std::string_view total) {
  rule.hf_slice = {first, run, stride, total};
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
  const auto both = [&](const std::string& hf, std::string_view cols, std::string_view key) {
    rules.push_back(when(part(matrix_rule("layers.{}.wq_plain", hf, "", "n_heads*plain_dim", cols),
                              "", "plain_dim", kStride, kTotal),
                         key));
    rules.push_back(when(part(matrix_rule("layers.{}.wq_rotated", hf, "", "n_heads*head_dim", cols),
                              "plain_dim", "head_dim", kStride, kTotal),
                         key));
  };
  both("layers.{}.self_attn.q_proj.weight", "dim", "!narrow_queries");
  rules.push_back(when(
      matrix_rule("layers.{}.wq_a", "layers.{}.self_attn.q_a_proj.weight", "", "q_rank", "dim"),
      "narrow_queries"));
  rules.push_back(
      when(bias_rule("layers.{}.wq_a.bias", "layers.{}.self_attn.q_a_proj.bias", "", "q_rank"),
           "bias.narrow_queries"));
  rules.push_back(when(
      norm_rule("layers.{}.q_a_norm", "layers.{}.self_attn.q_a_layernorm.weight", "", "q_rank"),
      "narrow_queries"));
  both("layers.{}.self_attn.q_b_proj.weight", "q_rank", "narrow_queries");
}

void add_keys(std::vector<TensorRule>& rules) {
  const std::string a = "layers.{}.self_attn.kv_a_proj_with_mqa";
  const std::string b = "layers.{}.self_attn.kv_b_proj.weight";
  constexpr std::string_view kNarrow = "kv_rank+head_dim";
  constexpr std::string_view kStride = "plain_dim+value_dim";
  constexpr std::string_view kTotal = "n_heads*plain_dim+n_heads*value_dim";
  rules.push_back(part(matrix_rule("layers.{}.wkv_a", a + ".weight", "", "kv_rank", "dim"), "", "",
                       "", kNarrow));
  rules.push_back(
      when(part(bias_rule("layers.{}.wkv_a.bias", a + ".bias", "", "kv_rank"), "", "", "", kNarrow),
           "bias.attention"));
  rules.push_back(part(matrix_rule("layers.{}.wk_rotated", a + ".weight", "", "head_dim", "dim"),
                       "kv_rank", "", "", kNarrow));
  rules.push_back(when(part(bias_rule("layers.{}.wk_rotated.bias", a + ".bias", "", "head_dim"),
                            "kv_rank", "", "", kNarrow),
                       "bias.attention"));
  rules.push_back(
      norm_rule("layers.{}.kv_a_norm", "layers.{}.self_attn.kv_a_layernorm.weight", "", "kv_rank"));
  rules.push_back(part(matrix_rule("layers.{}.wk_plain", b, "", "n_heads*plain_dim", "kv_rank"), "",
                       "plain_dim", kStride, kTotal));
  rules.push_back(part(matrix_rule("layers.{}.wv", b, "", "n_heads*value_dim", "kv_rank"),
                       "plain_dim", "value_dim", kStride, kTotal));
  rules.push_back(matrix_rule("layers.{}.wo", "layers.{}.self_attn.o_proj.weight", "", "dim",
                              "n_heads*value_dim"));
  rules.push_back(when(bias_rule("layers.{}.wo.bias", "layers.{}.self_attn.o_proj.bias", "", "dim"),
                       "bias.attention"));
}

}  // namespace

Result<Config> read_deepseek_config(const Config& source, std::string_view experts_key) {
  constexpr SourceKind kKind = SourceKind::kHuggingFace;
  QUERN_TRY(config, read_decoder_config(source, kKind, spelling(experts_key)));
  QUERN_CHECK(read_rope(source, kKind, {}, config));
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
  QUERN_TRY(bias, config.boolean("bias.attention"));
  const bool narrow = config.has("q_rank");
  config.set("narrow_queries", narrow);
  config.set("bias.narrow_queries", narrow && bias);
  return config;
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
  add_keys(in_layer);
  MixtureTable mixture;
  mixture.shared = "layers.{}.mlp.shared_experts";
  return sparse_decoder_tensors({.wq = "", .wk = "", .wv = "", .wo = ""}, mixture,
                                std::move(in_layer));
}

}  // namespace quern::models
