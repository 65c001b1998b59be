#include "models/encoder_tensors.h"

namespace quern::models {

std::string_view EncoderTable::own(std::string text) {
  return owned_.emplace_back(std::move(text));
}

std::vector<std::string> EncoderTable::spellings(const std::string& hf, bool base) const {
  std::vector<std::string> names = {hf};
  if (base && !prefix_.empty()) names.push_back(prefix_ + hf);
  return names;
}

TensorRule& EncoderTable::add(std::string_view name, std::vector<std::string> hf, std::string gguf,
                              std::string_view rows, std::string_view cols, Role role) {
  TensorRule rule;
  rule.name = own(std::string(name));
  rule.layers = layers_;
  rule.hf = std::move(hf);
  rule.gguf = own(std::move(gguf));
  rule.rows = rows;
  rule.cols = cols;
  rule.role = role;
  return rules_.emplace_back(std::move(rule));
}

EncoderTable& EncoderTable::matrix(const Names& names, std::string_view rows, std::string_view cols,
                                   const Options& options) {
  TensorRule& weight =
      add(names.name, spellings(names.hf + ".weight", options.base),
          names.gguf.empty() ? "" : names.gguf + ".weight", rows, cols, Role::kMatrix);
  weight.when = options.when;
  weight.optional = options.optional;
  if (!options.bias) return *this;
  return bias({own(std::string(names.name) + ".bias"), names.hf + ".bias",
               names.gguf.empty() ? "" : names.gguf + ".bias"},
              rows, options);
}

EncoderTable& EncoderTable::matrix(const Names& names, std::string_view rows,
                                   std::string_view cols) {
  return matrix(names, rows, cols, {});
}

EncoderTable& EncoderTable::norm(const Names& names, std::string_view n, const Options& options) {
  std::vector<std::string> weights = spellings(names.hf + ".weight", options.base);
  for (std::string& old : spellings(names.hf + ".gamma", options.base))
    weights.push_back(std::move(old));
  TensorRule& weight = add(names.name, std::move(weights),
                           names.gguf.empty() ? "" : names.gguf + ".weight", "1", n, Role::kVector);
  weight.when = options.when;
  if (!options.bias) return *this;
  bias({own(std::string(names.name) + ".bias"), names.hf + ".bias",
        names.gguf.empty() ? "" : names.gguf + ".bias"},
       n, options);
  for (std::string& old : spellings(names.hf + ".beta", options.base))
    rules_.back().hf.push_back(std::move(old));
  return *this;
}

EncoderTable& EncoderTable::norm(const Names& names, std::string_view n) {
  return norm(names, n, {});
}

EncoderTable& EncoderTable::also_named(const std::string& hf) {
  for (std::string& name : spellings(hf + ".weight", true))
    rules_.back().hf.push_back(std::move(name));
  return *this;
}

EncoderTable& EncoderTable::or_named(const std::string& hf) {
  rules_[rules_.size() - 2].hf.push_back(hf + ".weight");
  rules_.back().hf.push_back(hf + ".bias");
  return *this;
}

EncoderTable& EncoderTable::rows_of(std::string_view first, std::string_view total) {
  const bool bias = rules_.back().role == Role::kVector;
  for (std::size_t i = rules_.size() - (bias ? 2 : 1); i < rules_.size(); ++i) {
    rules_[i].hf_slice = {first, "", "", total};
    if (!rules_[i].gguf.empty()) rules_[i].gguf_slice = rules_[i].hf_slice;
  }
  return *this;
}

EncoderTable& EncoderTable::fused_qkv(const std::string& hf, const std::string& gguf,
                                      const Options& options) {
  constexpr std::string_view kHeads = "n_heads*head_dim", kAll = "3*n_heads*head_dim";
  return matrix({"layers.{}.wq", hf, gguf}, kHeads, "dim", options)
      .rows_of("", kAll)
      .matrix({"layers.{}.wk", hf, gguf}, kHeads, "dim", options)
      .rows_of(kHeads, kAll)
      .matrix({"layers.{}.wv", hf, gguf}, kHeads, "dim", options)
      .rows_of("2*n_heads*head_dim", kAll);
}

EncoderTable& EncoderTable::table(const Names& names, std::string_view rows, std::string_view cols,
                                  Role role, std::string_view when) {
  TensorRule& rule = add(names.name, spellings(names.hf + ".weight", true),
                         names.gguf.empty() ? "" : names.gguf + ".weight", rows, cols, role);
  rule.when = when;
  return *this;
}

EncoderTable& EncoderTable::bias(const Names& names, std::string_view n, const Options& options) {
  TensorRule& rule =
      add(names.name, spellings(names.hf, options.base), names.gguf, "1", n, Role::kVector);
  rule.when = options.bias_when.empty() ? options.when : options.bias_when;
  rule.optional = options.optional;
  return *this;
}

EncoderTable& EncoderTable::masked_word_output(std::string_view matrix_hf,
                                               std::vector<std::string> bias,
                                               std::string_view bias_when) {
  TensorRule& weight = add("lm_head", {std::string(matrix_hf) + ".weight"}, "", "vocab_size",
                           "head_width", Role::kMatrix);
  weight.when = "head.masked_lm?";
  add("lm_head.bias", std::move(bias), "", "1", "vocab_size", Role::kVector).when = bias_when;
  return *this;
}

void add_bert_embeddings(EncoderTable& table) {
  table
      .table({"embed", "embeddings.word_embeddings", "token_embd"}, "vocab_size", "embed_dim",
             Role::kEmbedding)
      .table({"pos_embed", "embeddings.position_embeddings", "position_embd"}, "n_positions",
             "embed_dim", Role::kExact)
      .table({"type_embed", "embeddings.token_type_embeddings", "token_types"}, "n_types",
             "embed_dim", Role::kExact, "has_types")
      .norm({"embed_norm", "embeddings.LayerNorm", "token_embd_norm"}, "embed_dim");
}

void add_bert_layers(EncoderTable& table) {
  const std::string layer = "encoder.layer.{}.";
  table.matrix({"layers.{}.wq", layer + "attention.self.query", "blk.{}.attn_q"}, "dim", "dim")
      .matrix({"layers.{}.wk", layer + "attention.self.key", "blk.{}.attn_k"}, "dim", "dim")
      .matrix({"layers.{}.wv", layer + "attention.self.value", "blk.{}.attn_v"}, "dim", "dim")
      .matrix({"layers.{}.wo", layer + "attention.output.dense", "blk.{}.attn_output"}, "dim",
              "dim")
      .norm({"layers.{}.attn_post_norm", layer + "attention.output.LayerNorm",
             "blk.{}.attn_output_norm"},
            "dim")
      .matrix({"layers.{}.w_up", layer + "intermediate.dense", "blk.{}.ffn_up"}, "ffn_dim", "dim")
      .matrix({"layers.{}.w_down", layer + "output.dense", "blk.{}.ffn_down"}, "dim", "ffn_dim")
      .norm({"layers.{}.ffn_post_norm", layer + "output.LayerNorm", "blk.{}.layer_output_norm"},
            "dim");
}

void add_roberta_classifiers(EncoderTable& table) {
  table
      .matrix({"head.dense", "classifier.dense", "cls"}, "head_width", "dim",
              {.when = "head.sequence", .base = false})
      .matrix({"head.out", "classifier.out_proj", "cls.output"}, "n_labels", "head_width",
              {.when = "head.sequence", .base = false})
      .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
              {.when = "head.tokens", .base = false});
}

void add_roberta_heads(EncoderTable& table) {
  add_roberta_classifiers(table);
  table
      .matrix({"head.dense", "lm_head.dense", ""}, "head_width", "dim",
              {.when = "head.masked_lm", .base = false})
      .norm({"head.norm", "lm_head.layer_norm", ""}, "head_width",
            {.when = "head.masked_lm", .base = false})
      .masked_word_output("lm_head.decoder", {"lm_head.decoder.bias", "lm_head.bias"},
                          "head.masked_lm");
}

}  // namespace quern::models
