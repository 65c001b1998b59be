/// \file
/// Tables of tensors of encoders: every matrix and every norm brings its bias.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace quern::models {

/// Collects rules, one call a matrix or norm. Names are made here and owned, so the object must
/// live as long as its rules are used. Move-only. Thread rule: one while it is filled.
class EncoderTable {
 public:
  /// \param prefix under which classes with a head keep the base model, e.g. "bert.": names of
  /// `base` tensors are tried with and without.
  explicit EncoderTable(std::string prefix) : prefix_(std::move(prefix)) {}
  EncoderTable(EncoderTable&&) = default;

  struct Names {
    std::string_view name;  ///< Canonical.
    std::string hf;         ///< Without ".weight".
    std::string gguf;       ///< Likewise; empty: none.
  };
  struct Options {
    std::string_view when = {};  ///< TensorRule::when, of weight and bias.
    bool bias = true;
    bool base = true;                 ///< Part of the base model, not of a head.
    std::string_view bias_when = {};  ///< The bias's own condition.
    bool optional = false;            ///< TensorRule::optional, of weight and bias.
  };

  /// The rules that follow are of a stack with this key for the number of its layers.
  EncoderTable& stack(std::string_view layers) {
    layers_ = layers;
    return *this;
  }
  EncoderTable& matrix(const Names& names, std::string_view rows, std::string_view cols,
                       const Options& options);
  EncoderTable& matrix(const Names& names, std::string_view rows, std::string_view cols);
  /// Also under the names of very old files, LayerNorm.gamma and LayerNorm.beta.
  EncoderTable& norm(const Names& names, std::string_view n, const Options& options);
  EncoderTable& norm(const Names& names, std::string_view n);
  /// A further Hugging Face name of the last table.
  EncoderTable& also_named(const std::string& hf);
  /// A second Hugging Face name of the last matrix or norm and of its bias.
  EncoderTable& or_named(const std::string& hf);
  /// The last matrix and its bias are rows of fused ones, from `first` on, in both kinds of source.
  EncoderTable& rows_of(std::string_view first, std::string_view total);
  /// wq, wk and wv, which the source keeps as the rows of one matrix in this order.
  EncoderTable& fused_qkv(const std::string& hf, const std::string& gguf, const Options& options);
  /// A table that is looked up and has no bias. \param role kEmbedding, or kExact for a small one.
  EncoderTable& table(const Names& names, std::string_view rows, std::string_view cols, Role role,
                      std::string_view when = {});
  /// One bias vector by its whole name.
  EncoderTable& bias(const Names& names, std::string_view n, const Options& options);
  /// The output matrix and bias of a masked-word head: `lm_head`, absent where it is the embedding
  /// again, and `lm_head.bias`. \param bias the bias's accepted whole names, that of the output
  /// layer itself first: where the two are not tied, only that one counts.
  EncoderTable& masked_word_output(std::string_view matrix_hf, std::vector<std::string> bias,
                                   std::string_view bias_when);

  const std::vector<TensorRule>& rules() const noexcept { return rules_; }

 private:
  std::string_view own(std::string text);
  std::vector<std::string> spellings(const std::string& hf, bool base) const;
  TensorRule& add(std::string_view name, std::vector<std::string> hf, std::string gguf,
                  std::string_view rows, std::string_view cols, Role role);

  std::string prefix_;
  std::string_view layers_ = "n_layers";
  std::deque<std::string> owned_;  ///< Its elements never move.
  std::vector<TensorRule> rules_;
};

/// Words, learned positions, token types and their norm, as BERT names them.
void add_bert_embeddings(EncoderTable& table);

/// The layers of BERT as Hugging Face names them: `encoder.layer.{}.attention.self.query` …, norms
/// after each block.
void add_bert_layers(EncoderTable& table);

/// The heads for labels of a text (two matrices) and of its tokens, as RoBERTa names them.
void add_roberta_classifiers(EncoderTable& table);

/// Those and RoBERTa's masked-word head.
void add_roberta_heads(EncoderTable& table);

}  // namespace quern::models
