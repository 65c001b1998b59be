#include "models/decoder_tensors.h"

namespace quern::models {
namespace {

std::vector<TensorRule> attention_tensors(Transform qk) {
  return {
      norm_rule("layers.{}.attn_norm", "layers.{}.input_layernorm.weight",
                "blk.{}.attn_norm.weight", "dim"),
      matrix_rule("layers.{}.wq", "layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight",
                  "n_heads*head_dim", "dim", qk),
      bias_rule("layers.{}.wq.bias", "layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias",
                "n_heads*head_dim", qk),
      matrix_rule("layers.{}.wk", "layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight",
                  "n_kv_heads*head_dim", "dim", qk),
      bias_rule("layers.{}.wk.bias", "layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias",
                "n_kv_heads*head_dim", qk),
      matrix_rule("layers.{}.wv", "layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight",
                  "n_kv_heads*head_dim", "dim"),
      bias_rule("layers.{}.wv.bias", "layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias",
                "n_kv_heads*head_dim"),
      matrix_rule("layers.{}.wo", "layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight",
                  "dim", "n_heads*head_dim"),
      bias_rule("layers.{}.wo.bias", "layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias",
                "dim"),
  };
}

std::vector<TensorRule> mlp_tensors() {
  return {
      norm_rule("layers.{}.ffn_norm", "layers.{}.post_attention_layernorm.weight",
                "blk.{}.ffn_norm.weight", "dim"),
      matrix_rule("layers.{}.w_gate", "layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight",
                  "ffn_dim", "dim"),
      bias_rule("layers.{}.w_gate.bias", "layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias",
                "ffn_dim"),
      matrix_rule("layers.{}.w_up", "layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight",
                  "ffn_dim", "dim"),
      bias_rule("layers.{}.w_up.bias", "layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias",
                "ffn_dim"),
      matrix_rule("layers.{}.w_down", "layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight",
                  "dim", "ffn_dim"),
      bias_rule("layers.{}.w_down.bias", "layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias",
                "dim"),
  };
}

void append(std::vector<TensorRule>& rules, const std::vector<TensorRule>& more) {
  rules.insert(rules.end(), more.begin(), more.end());
}

}  // namespace

TensorRule matrix_rule(std::string_view name, std::string_view hf, std::string_view gguf,
                       std::string_view rows, std::string_view cols, Transform gguf_transform) {
  return {name,  {std::string(hf)}, gguf,          rows, cols, Role::kMatrix,
          false, Transform::kNone,  gguf_transform};
}

TensorRule bias_rule(std::string_view name, std::string_view hf, std::string_view gguf,
                     std::string_view n, Transform gguf_transform) {
  return {name, {std::string(hf)}, gguf,          "1", n, Role::kVector,
          true, Transform::kNone,  gguf_transform};
}

TensorRule norm_rule(std::string_view name, std::string_view hf, std::string_view gguf,
                     std::string_view n, Transform hf_transform) {
  return {name,         {std::string(hf)}, gguf, "1", n, Role::kVector, false,
          hf_transform, Transform::kNone};
}

std::vector<TensorRule> decoder_tensors(Transform gguf_qk_transform,
                                        const std::vector<TensorRule>& in_layer) {
  std::vector<TensorRule> rules = {
      matrix_rule("embed", "embed_tokens.weight", "token_embd.weight", "vocab_size", "dim")};
  rules.front().role = Role::kEmbedding;
  append(rules, attention_tensors(gguf_qk_transform));
  append(rules, mlp_tensors());
  append(rules, in_layer);
  rules.push_back(norm_rule("norm", "norm.weight", "output_norm.weight", "dim"));
  rules.push_back(matrix_rule("lm_head", "lm_head.weight", "output.weight", "vocab_size", "dim"));
  rules.back().optional = true;  // Absent where it is tied to the embedding.
  return rules;
}

std::vector<TensorRule> qk_norm_tensors(Transform hf_transform) {
  return {norm_rule("layers.{}.q_norm", "layers.{}.self_attn.q_norm.weight",
                    "blk.{}.attn_q_norm.weight", "head_dim", hf_transform),
          norm_rule("layers.{}.k_norm", "layers.{}.self_attn.k_norm.weight",
                    "blk.{}.attn_k_norm.weight", "head_dim", hf_transform)};
}

}  // namespace quern::models
