// ELECTRA (Clark et al. 2020): BERT whose embeddings are narrower than its layers.
#include "models/encoder_blocks.h"
#include "models/encoder_config.h"
#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::int64_t kDefaultTypes = 2;
constexpr std::int64_t kDefaultEmbedding = 128;

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_encoder_config(source, kind, bert_keys(), "", "hidden_act"));
  if (!config.has("n_types")) config.set("n_types", kDefaultTypes);
  QUERN_TRY(embed_dim, source.integer_or("embedding_size", kDefaultEmbedding));
  QUERN_TRY(dim, config.integer("dim"));
  config.set("embed_dim", embed_dim);
  config.set("has_embed_proj", embed_dim != dim);
  QUERN_CHECK(read_head(source, config));
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  if (masked_lm) config.set("head_width", embed_dim);
  config.set("head.activation", std::string("gelu_erf"));
  config.set("architecture", std::string("electra"));
  return config;
}

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("electra.");
    add_bert_embeddings(table);
    table.matrix({"embed_proj", "embeddings_project", ""}, "dim", "embed_dim",
                 {.when = "has_embed_proj"});
    add_bert_layers(table);
    add_roberta_classifiers(table);
    table
        .matrix({"head.dense", "generator_predictions.dense", ""}, "head_width", "dim",
                {.when = "head.masked_lm", .base = false})
        .norm({"head.norm", "generator_predictions.LayerNorm", ""}, "head_width",
              {.when = "head.masked_lm", .base = false})
        .masked_word_output("generator_lm_head", {"generator_lm_head.bias"}, "head.masked_lm");
    return table;
  }();
  return kTable.rules();
}

}  // namespace

extern const Architecture kElectra;
const Architecture kElectra = {
    "electra",
    {"ElectraModel", "ElectraForMaskedLM", "ElectraForSequenceClassification",
     "ElectraForTokenClassification"},
    {},
    read_config,
    nullptr,
    tensors,
    build_post_norm_encoder};

}  // namespace quern::models
