/// \file
/// The tensors of the blocks that decoders share (blocks.h), with their published names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

// One rule each, so that a table of tensors reads as one line a tensor.
TensorRule matrix_rule(std::string_view name, std::string hf, std::string_view gguf,
                       std::string_view rows, std::string_view cols,
                       Transform gguf_transform = Transform::kNone);
/// Optional: what the configuration or the file says.
TensorRule bias_rule(std::string_view name, std::string hf, std::string_view gguf,
                     std::string_view n, Transform gguf_transform = Transform::kNone);
TensorRule norm_rule(std::string_view name, std::string hf, std::string_view gguf,
                     std::string_view n, Transform hf_transform = Transform::kNone);

/// How a source fuses the rows of wq, wk and wv.
enum class FusedQkv : std::uint8_t {
  kSeparate,
  kInOrder,   ///< All of wq, all of wk, all of wv.
  kPerGroup,  ///< For every KV head its queries, its key, its value; needs the key `kv_group`.
};

/// The Hugging Face names of a decoder's tensors, without ".weight" and ".bias", and what was done
/// to them. An empty name: the model has no such tensor. Biases are optional everywhere; where the
/// configuration holds `bias.qkv`, `bias.wo`, `bias.ffn`, `bias.norm` or `bias.head` it decides.
struct DecoderTable {
  std::string embed = "embed_tokens";
  std::string attn_norm = "layers.{}.input_layernorm";
  std::string wq = "layers.{}.self_attn.q_proj";
  std::string wk = "layers.{}.self_attn.k_proj";
  std::string wv = "layers.{}.self_attn.v_proj";
  std::string wo = "layers.{}.self_attn.o_proj";
  std::string attn_post_norm = "";
  std::string ffn_norm = "layers.{}.post_attention_layernorm";
  std::string w_gate = "layers.{}.mlp.gate_proj";
  std::string w_up = "layers.{}.mlp.up_proj";
  std::string w_down = "layers.{}.mlp.down_proj";
  std::string ffn_post_norm = "";
  std::string norm = "norm";
  std::string lm_head = "lm_head";
  FusedQkv hf_qkv = FusedQkv::kSeparate;    ///< wq, wk, wv are then one name.
  FusedQkv gguf_qkv = FusedQkv::kSeparate;  ///< Never kPerGroup.
  bool hf_fused_gate_up = false;            ///< Gate rows, then up rows, under the name of w_up.
  bool gguf_fused_gate_up = false;
  Transform gguf_qk = Transform::kNone;
  Transform hf_norm = Transform::kNone;
  Transform hf_matrix = Transform::kNone;  ///< Of the layers' matrices.
  bool norm_optional = false;              ///< Norms may have no weights.
};

/// The tensors of embedding, attention_block, gated_mlp or plain_mlp, and head, in the order of
/// use; `in_layer` are an architecture's own tensors of every layer.
std::vector<TensorRule> decoder_tensors(const DecoderTable& table,
                                        const std::vector<TensorRule>& in_layer = {});

/// RMS norms of query and key heads (`{}`'s "self_attn.q_norm" unless said otherwise).
std::vector<TensorRule> qk_norm_tensors(Transform hf_transform = Transform::kNone);

/// Layer norms of query and key heads, one weight for all heads, by Hugging Face names without
/// ".weight"; `when` says whether the model has them.
std::vector<TensorRule> layer_qk_norm_tensors(const std::string& q, const std::string& k,
                                              std::string_view when);
/// Norms of all query heads together, and of all key heads.
std::vector<TensorRule> qk_row_norm_tensors();

/// Adds the table of learned positions to a decoder's tensors.
void add_positions(std::vector<TensorRule>& rules, const std::string& hf, std::string_view rows);

/// The rule named `name` of a table that has it.
TensorRule& rule_of(std::vector<TensorRule>& rules, std::string_view name);

}  // namespace quern::models
