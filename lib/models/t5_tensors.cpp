// The tensors of T5's family: blocks of two or three sublayers, each with a norm before it.
#include "models/decoder_tensors.h"
#include "models/t5.h"

namespace quern::models {
namespace {

/// The rules of one stack. Names are literals: rules view them.
struct StackNames {
  std::string_view layers;  ///< The key of their number.
  std::string hf, gguf;     ///< Before the number of the layer.
};

class T5Table {
 public:
  std::vector<TensorRule> rules;

  void matrix(const StackNames& stack, std::string_view name, const std::string& hf,
              std::string_view gguf, std::string_view rows, std::string_view cols) {
    rules.push_back(matrix_rule(name, stack.hf + hf + ".weight", gguf, rows, cols));
    rules.back().layers = stack.layers;
  }
  void norm(const StackNames& stack, std::string_view name, const std::string& hf,
            std::string_view gguf) {
    rules.push_back(norm_rule(name, stack.hf + hf + ".layer_norm.weight", gguf, "dim"));
    rules.back().layers = stack.layers;
  }
  /// Of every layer, or of the first for all.
  void bias(std::string_view name, std::string hf, std::string_view gguf, std::string_view layers,
            std::string_view when) {
    rules.push_back(matrix_rule(name, std::move(hf), gguf, "n_buckets", "n_heads"));
    rules.back().role = Role::kExact;
    rules.back().layers = layers;
    rules.back().when = when;
  }
};

constexpr std::string_view kHeads = "n_heads*head_dim";

void add_encoder(T5Table& table) {
  const StackNames stack{"encoder.n_layers", "encoder.block.{}.layer.", ""};
  table.bias("encoder.rel_bias",
             "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
             "enc.blk.0.attn_rel_b.weight", "n_layers", "!layers_have_bias");
  table.norm(stack, "encoder.layers.{}.attn_norm", "0", "enc.blk.{}.attn_norm.weight");
  const std::string self = "0.SelfAttention.";
  table.matrix(stack, "encoder.layers.{}.wq", self + "q", "enc.blk.{}.attn_q.weight", kHeads,
               "dim");
  table.matrix(stack, "encoder.layers.{}.wk", self + "k", "enc.blk.{}.attn_k.weight", kHeads,
               "dim");
  table.matrix(stack, "encoder.layers.{}.wv", self + "v", "enc.blk.{}.attn_v.weight", kHeads,
               "dim");
  table.bias("encoder.layers.{}.rel_bias", stack.hf + self + "relative_attention_bias.weight",
             "enc.blk.{}.attn_rel_b.weight", stack.layers, "layers_have_bias");
  table.matrix(stack, "encoder.layers.{}.wo", self + "o", "enc.blk.{}.attn_o.weight", "dim",
               kHeads);
  table.norm(stack, "encoder.layers.{}.ffn_norm", "1", "enc.blk.{}.ffn_norm.weight");
  const std::string mlp = "1.DenseReluDense.";
  table.matrix(stack, "encoder.layers.{}.w_gate", mlp + "wi_0", "enc.blk.{}.ffn_gate.weight",
               "ffn_dim", "dim");
  table.rules.back().when = "gated";
  table.matrix(stack, "encoder.layers.{}.w_up", mlp + "wi", "enc.blk.{}.ffn_up.weight", "ffn_dim",
               "dim");
  table.rules.back().hf.push_back(stack.hf + mlp + "wi_1.weight");
  table.matrix(stack, "encoder.layers.{}.w_down", mlp + "wo", "enc.blk.{}.ffn_down.weight", "dim",
               "ffn_dim");
  table.rules.push_back(norm_rule("encoder.norm", "encoder.final_layer_norm.weight",
                                  "enc.output_norm.weight", "dim"));
}

void add_decoder_attention(T5Table& table, const StackNames& stack) {
  const std::string self = "0.SelfAttention.", cross = "1.EncDecAttention.";
  table.norm(stack, "layers.{}.attn_norm", "0", "dec.blk.{}.attn_norm.weight");
  table.matrix(stack, "layers.{}.wq", self + "q", "dec.blk.{}.attn_q.weight", kHeads, "dim");
  table.matrix(stack, "layers.{}.wk", self + "k", "dec.blk.{}.attn_k.weight", kHeads, "dim");
  table.matrix(stack, "layers.{}.wv", self + "v", "dec.blk.{}.attn_v.weight", kHeads, "dim");
  table.bias("layers.{}.rel_bias", stack.hf + self + "relative_attention_bias.weight",
             "dec.blk.{}.attn_rel_b.weight", stack.layers, "layers_have_bias");
  table.matrix(stack, "layers.{}.wo", self + "o", "dec.blk.{}.attn_o.weight", "dim", kHeads);
  table.norm(stack, "layers.{}.cross_norm", "1", "dec.blk.{}.cross_attn_norm.weight");
  table.matrix(stack, "layers.{}.cross_wq", cross + "q", "dec.blk.{}.cross_attn_q.weight", kHeads,
               "dim");
  table.matrix(stack, "layers.{}.cross_wk", cross + "k", "dec.blk.{}.cross_attn_k.weight", kHeads,
               "dim");
  table.matrix(stack, "layers.{}.cross_wv", cross + "v", "dec.blk.{}.cross_attn_v.weight", kHeads,
               "dim");
  table.matrix(stack, "layers.{}.cross_wo", cross + "o", "dec.blk.{}.cross_attn_o.weight", "dim",
               kHeads);
}

void add_decoder(T5Table& table) {
  const StackNames stack{"n_layers", "decoder.block.{}.layer.", ""};
  table.bias("rel_bias", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
             "dec.blk.0.attn_rel_b.weight", "n_layers", "!layers_have_bias");
  add_decoder_attention(table, stack);
  table.norm(stack, "layers.{}.ffn_norm", "2", "dec.blk.{}.ffn_norm.weight");
  const std::string mlp = "2.DenseReluDense.";
  table.matrix(stack, "layers.{}.w_gate", mlp + "wi_0", "dec.blk.{}.ffn_gate.weight", "ffn_dim",
               "dim");
  table.rules.back().when = "gated";
  table.matrix(stack, "layers.{}.w_up", mlp + "wi", "dec.blk.{}.ffn_up.weight", "ffn_dim", "dim");
  table.rules.back().hf.push_back(stack.hf + mlp + "wi_1.weight");
  table.matrix(stack, "layers.{}.w_down", mlp + "wo", "dec.blk.{}.ffn_down.weight", "dim",
               "ffn_dim");
  table.rules.push_back(
      norm_rule("norm", "decoder.final_layer_norm.weight", "dec.output_norm.weight", "dim"));
  table.rules.push_back(
      matrix_rule("lm_head", "lm_head.weight", "output.weight", "vocab_size", "dim"));
  table.rules.back().optional = true;
}

}  // namespace

std::vector<TensorRule> t5_tensors(bool with_decoder) {
  T5Table table;
  table.rules.push_back(
      matrix_rule("embed", "shared.weight", "token_embd.weight", "vocab_size", "dim"));
  table.rules.back().role = Role::kEmbedding;
  table.rules.back().hf.insert(table.rules.back().hf.end(),
                               {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"});
  add_encoder(table);
  if (with_decoder) add_decoder(table);
  return table.rules;
}

}  // namespace quern::models
