// RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): BERT whose positions begin
// behind the padding's id, with heads of their own.
#include "models/decoder_tensors.h"
#include "models/encoder_blocks.h"
#include "models/encoder_config.h"
#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "bert";  ///< Which llama.cpp makes of it.
constexpr std::int64_t kDefaultTypes = 2;

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_encoder_config(source, kind, bert_keys(), "", "hidden_act"));
  if (!config.has("n_types")) config.set("n_types", kDefaultTypes);
  QUERN_CHECK(read_padded_positions(source, config));
  QUERN_CHECK(read_head(source, config));
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  config.set("head.activation", std::string(masked_lm ? "gelu_erf" : "tanh"));
  config.set("architecture", std::string("roberta"));
  return config;
}

/// A BERT whose positions begin at 0.
Result<Config> write_gguf_config(const Config& config) {
  Config whole = config;
  whole.set("n_positions", *config.find("max_seq_len"));
  return write_bert_gguf_config(whole);
}

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("roberta.");
    add_bert_embeddings(table);
    add_bert_layers(table);
    add_roberta_heads(table);
    return table;
  }();
  static const std::vector<TensorRule> kRules = [] {
    std::vector<TensorRule> rules = kTable.rules();
    rule_of(rules, "pos_embed").gguf_skipped_rows = "position_offset";
    return rules;
  }();
  return kRules;
}

}  // namespace

extern const Architecture kRoberta;
const Architecture kRoberta = {
    "roberta",
    {"RobertaModel", "RobertaForMaskedLM", "RobertaForSequenceClassification",
     "RobertaForTokenClassification", "XLMRobertaModel", "XLMRobertaForMaskedLM",
     "XLMRobertaForSequenceClassification", "XLMRobertaForTokenClassification"},
    {kGguf},
    read_config,
    write_gguf_config,
    tensors,
    build_post_norm_encoder};

}  // namespace quern::models
