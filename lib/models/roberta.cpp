// RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): BERT whose positions begin
// behind the padding's id, with heads of their own.
#include "models/encoder_blocks.h"
#include "models/encoder_config.h"
#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

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

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("roberta.");
    table
        .table({"embed", "embeddings.word_embeddings", ""}, "vocab_size", "embed_dim",
               Role::kEmbedding)
        .table({"pos_embed", "embeddings.position_embeddings", ""}, "n_positions", "embed_dim",
               Role::kExact)
        .table({"type_embed", "embeddings.token_type_embeddings", ""}, "n_types", "embed_dim",
               Role::kExact)
        .norm({"embed_norm", "embeddings.LayerNorm", ""}, "embed_dim");
    add_bert_layers(table);
    table
        .matrix({"head.dense", "classifier.dense", ""}, "head_width", "dim",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier.out_proj", ""}, "n_labels", "head_width",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.tokens", .base = false})
        .matrix({"head.dense", "lm_head.dense", ""}, "head_width", "dim",
                {.when = "head.masked_lm", .base = false})
        .norm({"head.norm", "lm_head.layer_norm", ""}, "head_width",
              {.when = "head.masked_lm", .base = false})
        .masked_word_output("lm_head.decoder", {"lm_head.decoder.bias", "lm_head.bias"},
                            "head.masked_lm");
    return table;
  }();
  return kTable.rules();
}

}  // namespace

extern const Architecture kRoberta;
const Architecture kRoberta = {
    "roberta",
    {"RobertaModel", "RobertaForMaskedLM", "RobertaForSequenceClassification",
     "RobertaForTokenClassification", "XLMRobertaModel", "XLMRobertaForMaskedLM",
     "XLMRobertaForSequenceClassification", "XLMRobertaForTokenClassification"},
    {},
    read_config,
    nullptr,
    tensors,
    build_post_norm_encoder};

}  // namespace quern::models
