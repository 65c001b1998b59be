#include "models/decoder_tensors.h"

#include <algorithm>

namespace quern::models {
namespace {

constexpr std::string_view kQueries = "n_heads*head_dim";
constexpr std::string_view kKeys = "n_kv_heads*head_dim";
constexpr std::string_view kQueriesAndKeys = "n_heads*head_dim+n_kv_heads*head_dim";
constexpr std::string_view kFused = "n_heads*head_dim+2*n_kv_heads*head_dim";
constexpr std::string_view kGroupStride = "kv_group*head_dim+2*head_dim";

/// Which third of a fused projection.
enum class Third : std::uint8_t { kQ, kK, kV };

RowSlice slice_of(FusedQkv fusion, Third third) {
  if (fusion == FusedQkv::kInOrder) {
    return {third == Third::kQ   ? ""
            : third == Third::kK ? kQueries
                                 : kQueriesAndKeys,
            "", "", kFused};
  }
  if (fusion == FusedQkv::kPerGroup) {
    if (third == Third::kQ) return {"", "kv_group*head_dim", kGroupStride, kFused};
    return {third == Third::kK ? "kv_group*head_dim" : "kv_group*head_dim+head_dim", "head_dim",
            kGroupStride, kFused};
  }
  return {};
}

RowSlice half_of(bool fused, bool second) {
  return fused ? RowSlice{second ? "ffn_dim" : "", "", "", "2*ffn_dim"} : RowSlice{};
}

/// Collects the rules of one table.
class TableWriter {
 public:
  explicit TableWriter(const DecoderTable& table) : table_(table) {}

  void norm(std::string_view name, std::string_view bias, const std::string& hf,
            std::string_view gguf, std::string_view gguf_bias) {
    if (hf.empty()) return;
    rules.push_back(norm_rule(name, hf + ".weight", gguf, "dim", table_.hf_norm));
    rules.back().optional = table_.norm_optional;
    rules.push_back(bias_rule(bias, hf + ".bias", gguf_bias, "dim"));
    rules.back().when = "bias.norm";
  }

  void linear(TensorRule weight, std::string_view bias, const std::string& hf,
              std::string_view gguf_bias, std::string_view when) {
    if (hf.empty()) return;
    weight.hf_transform = table_.hf_matrix;
    TensorRule vector =
        bias_rule(bias, hf + ".bias", gguf_bias, weight.rows, weight.gguf_transform);
    vector.hf_slice = weight.hf_slice;
    vector.gguf_slice = weight.gguf_slice;
    vector.when = when;
    rules.push_back(std::move(weight));
    rules.push_back(std::move(vector));
  }

  void projection(Third third, std::string_view name, std::string_view bias, const std::string& hf,
                  std::string_view gguf, std::string_view gguf_bias) {
    const bool fused = table_.gguf_qkv != FusedQkv::kSeparate;
    TensorRule rule = matrix_rule(name, hf + ".weight", fused ? "blk.{}.attn_qkv.weight" : gguf,
                                  third == Third::kQ ? kQueries : kKeys, "dim");
    if (third != Third::kV) rule.gguf_transform = table_.gguf_qk;
    rule.hf_slice = slice_of(table_.hf_qkv, third);
    rule.gguf_slice = slice_of(table_.gguf_qkv, third);
    linear(std::move(rule), bias, hf, fused ? "blk.{}.attn_qkv.bias" : gguf_bias, "bias.qkv");
  }

  void attention() {
    norm("layers.{}.attn_norm", "layers.{}.attn_norm.bias", table_.attn_norm,
         "blk.{}.attn_norm.weight", "blk.{}.attn_norm.bias");
    projection(Third::kQ, "layers.{}.wq", "layers.{}.wq.bias", table_.wq, "blk.{}.attn_q.weight",
               "blk.{}.attn_q.bias");
    projection(Third::kK, "layers.{}.wk", "layers.{}.wk.bias", table_.wk, "blk.{}.attn_k.weight",
               "blk.{}.attn_k.bias");
    projection(Third::kV, "layers.{}.wv", "layers.{}.wv.bias", table_.wv, "blk.{}.attn_v.weight",
               "blk.{}.attn_v.bias");
    linear(matrix_rule("layers.{}.wo", table_.wo + ".weight", "blk.{}.attn_output.weight", "dim",
                       kQueries),
           "layers.{}.wo.bias", table_.wo, "blk.{}.attn_output.bias", "bias.wo");
    norm("layers.{}.attn_post_norm", "layers.{}.attn_post_norm.bias", table_.attn_post_norm,
         "blk.{}.post_attention_norm.weight", "blk.{}.post_attention_norm.bias");
  }

  void mlp() {
    norm("layers.{}.ffn_norm", "layers.{}.ffn_norm.bias", table_.ffn_norm, "blk.{}.ffn_norm.weight",
         "blk.{}.ffn_norm.bias");
    const bool fused = table_.gguf_fused_gate_up;
    TensorRule gate =
        matrix_rule("layers.{}.w_gate", table_.w_gate + ".weight",
                    fused ? "blk.{}.ffn_up.weight" : "blk.{}.ffn_gate.weight", "ffn_dim", "dim");
    gate.hf_slice = half_of(table_.hf_fused_gate_up, false);
    gate.gguf_slice = half_of(fused, false);
    linear(std::move(gate), "layers.{}.w_gate.bias", table_.w_gate,
           fused ? "blk.{}.ffn_up.bias" : "blk.{}.ffn_gate.bias", "bias.ffn");
    TensorRule up = matrix_rule("layers.{}.w_up", table_.w_up + ".weight", "blk.{}.ffn_up.weight",
                                "ffn_dim", "dim");
    up.hf_slice = half_of(table_.hf_fused_gate_up, true);
    up.gguf_slice = half_of(fused, true);
    linear(std::move(up), "layers.{}.w_up.bias", table_.w_up, "blk.{}.ffn_up.bias", "bias.ffn");
    linear(matrix_rule("layers.{}.w_down", table_.w_down + ".weight", "blk.{}.ffn_down.weight",
                       "dim", "ffn_dim"),
           "layers.{}.w_down.bias", table_.w_down, "blk.{}.ffn_down.bias", "bias.ffn");
    norm("layers.{}.ffn_post_norm", "layers.{}.ffn_post_norm.bias", table_.ffn_post_norm,
         "blk.{}.post_ffw_norm.weight", "blk.{}.post_ffw_norm.bias");
  }

  std::vector<TensorRule> rules;

 private:
  const DecoderTable& table_;
};

}  // namespace

TensorRule matrix_rule(std::string_view name, std::string hf, std::string_view gguf,
                       std::string_view rows, std::string_view cols, Transform gguf_transform) {
  TensorRule rule{name, {std::move(hf)}, gguf, rows, cols};
  rule.gguf_transform = gguf_transform;
  return rule;
}

TensorRule bias_rule(std::string_view name, std::string hf, std::string_view gguf,
                     std::string_view n, Transform gguf_transform) {
  TensorRule rule{name, {std::move(hf)}, gguf, "1", n, Role::kVector, true};
  rule.gguf_transform = gguf_transform;
  return rule;
}

TensorRule norm_rule(std::string_view name, std::string hf, std::string_view gguf,
                     std::string_view n, Transform hf_transform) {
  TensorRule rule{name, {std::move(hf)}, gguf, "1", n, Role::kVector};
  rule.hf_transform = hf_transform;
  return rule;
}

std::vector<TensorRule> decoder_tensors(const DecoderTable& table,
                                        const std::vector<TensorRule>& in_layer) {
  TableWriter writer(table);
  std::vector<TensorRule>& rules = writer.rules;
  rules.push_back(
      matrix_rule("embed", table.embed + ".weight", "token_embd.weight", "vocab_size", "dim"));
  rules.front().role = Role::kEmbedding;
  writer.attention();
  writer.mlp();
  rules.insert(rules.end(), in_layer.begin(), in_layer.end());
  writer.norm("norm", "norm.bias", table.norm, "output_norm.weight", "output_norm.bias");
  rules.push_back(
      matrix_rule("lm_head", table.lm_head + ".weight", "output.weight", "vocab_size", "dim"));
  rules.back().optional = true;  // Absent where it is tied to the embedding.
  rules.push_back(bias_rule("lm_head.bias", table.lm_head + ".bias", "output.bias", "vocab_size"));
  rules.back().when = "bias.head";
  return std::move(rules);
}

std::vector<TensorRule> qk_norm_tensors(Transform hf_transform) {
  return {norm_rule("layers.{}.q_norm", "layers.{}.self_attn.q_norm.weight",
                    "blk.{}.attn_q_norm.weight", "head_dim", hf_transform),
          norm_rule("layers.{}.k_norm", "layers.{}.self_attn.k_norm.weight",
                    "blk.{}.attn_k_norm.weight", "head_dim", hf_transform)};
}

std::vector<TensorRule> layer_qk_norm_tensors(const std::string& q, const std::string& k,
                                              std::string_view when) {
  std::vector<TensorRule> rules = {
      norm_rule("layers.{}.q_norm", q + ".weight", "blk.{}.attn_q_norm.weight", "head_dim"),
      bias_rule("layers.{}.q_norm.bias", q + ".bias", "blk.{}.attn_q_norm.bias", "head_dim"),
      norm_rule("layers.{}.k_norm", k + ".weight", "blk.{}.attn_k_norm.weight", "head_dim"),
      bias_rule("layers.{}.k_norm.bias", k + ".bias", "blk.{}.attn_k_norm.bias", "head_dim")};
  for (TensorRule& rule : rules) rule.when = when;
  return rules;
}

std::vector<TensorRule> qk_row_norm_tensors() {
  return {norm_rule("layers.{}.q_norm", "layers.{}.self_attn.q_norm.weight",
                    "blk.{}.attn_q_norm.weight", kQueries),
          norm_rule("layers.{}.k_norm", "layers.{}.self_attn.k_norm.weight",
                    "blk.{}.attn_k_norm.weight", kKeys)};
}

void add_positions(std::vector<TensorRule>& rules, const std::string& hf, std::string_view rows) {
  TensorRule positions = matrix_rule("positions", hf, "position_embd.weight", rows, "dim");
  positions.role = Role::kEmbedding;
  rules.insert(rules.begin() + 1, std::move(positions));
}

TensorRule& rule_of(std::vector<TensorRule>& rules, std::string_view name) {
  return *std::find_if(rules.begin(), rules.end(),
                       [&](const TensorRule& rule) { return rule.name == name; });
}

}  // namespace quern::models
