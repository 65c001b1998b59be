#include "models/bart_tensors.h"

#include <string>

#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

void add_attention(EncoderTable& table, const std::string& ours, const std::string& theirs) {
  table.matrix({ours + "wq", theirs + ".q_proj", ""}, "dim", "dim")
      .matrix({ours + "wk", theirs + ".k_proj", ""}, "dim", "dim")
      .matrix({ours + "wv", theirs + ".v_proj", ""}, "dim", "dim")
      .matrix({ours + "wo", theirs + ".out_proj", ""}, "dim", "dim");
}

void add_stack(EncoderTable& table, bool decoder) {
  const std::string ours = decoder ? "" : "encoder.", theirs = decoder ? "decoder." : "encoder.";
  const std::string layer = ours + "layers.{}.", hf = theirs + "layers.{}.";
  const std::string_view ffn_dim = decoder ? "ffn_dim" : "encoder.ffn_dim";
  table
      .table({ours + "positions", theirs + "embed_positions", ""}, "n_positions", "dim",
             Role::kExact, "learned_positions")
      .norm({ours + "embed_norm", theirs + "layernorm_embedding", ""}, "dim",
            {.when = "embed_norm"})
      .stack(decoder ? "n_layers" : "encoder.n_layers")
      .norm({layer + "attn_norm", hf + "self_attn_layer_norm", ""}, "dim");
  add_attention(table, layer, hf + "self_attn");
  if (decoder) {
    table.norm({layer + "cross_norm", hf + "encoder_attn_layer_norm", ""}, "dim");
    add_attention(table, layer + "cross_", hf + "encoder_attn");
  }
  table.norm({layer + "ffn_norm", hf + "final_layer_norm", ""}, "dim")
      .matrix({layer + "w_up", hf + "fc1", ""}, ffn_dim, "dim")
      .matrix({layer + "w_down", hf + "fc2", ""}, "dim", ffn_dim)
      .norm({ours + "norm", theirs + "layer_norm", ""}, "dim", {.when = "norm_first"});
}

void add_both_stacks(EncoderTable& table) {
  // Old checkpoints have `shared` alone, even where the configuration ties nothing.
  table.table({"embed", "decoder.embed_tokens", ""}, "vocab_size", "dim", Role::kEmbedding)
      .also_named("shared")
      .also_named("encoder.embed_tokens")
      .table({"encoder.embed", "encoder.embed_tokens", ""}, "encoder.vocab_size", "dim",
             Role::kEmbedding, "own_embedding")
      .also_named("shared");
  add_stack(table, false);
  add_stack(table, true);
}

}  // namespace

const std::vector<TensorRule>& bart_tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("model.");
    add_both_stacks(table);
    table
        .matrix({"lm_head", "lm_head", ""}, "vocab_size", "dim",
                {.bias = false, .base = false, .optional = true})
        .bias({"lm_head.bias", "final_logits_bias", ""}, "vocab_size",
              {.base = false, .optional = true});
    return table;
  }();
  return kTable.rules();
}

const std::vector<TensorRule>& bart_classifier_tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("model.");
    add_both_stacks(table);
    table
        .matrix({"head.dense", "classification_head.dense", ""}, "head_width", "dim",
                {.base = false})
        .matrix({"head.out", "classification_head.out_proj", ""}, "n_labels", "head_width",
                {.base = false});
    return table;
  }();
  return kTable.rules();
}

}  // namespace quern::models
