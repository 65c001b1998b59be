// BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers"): learned
// positions, token types, norms after the residual sums.
#include "models/encoder_blocks.h"
#include "models/encoder_config.h"
#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "bert";
constexpr std::int64_t kDefaultTypes = 2;

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_encoder_config(source, kind, bert_keys(), kGguf, "hidden_act"));
  if (!config.has("n_types")) {
    QUERN_TRY(n_types, source.integer_or("tokenizer.ggml.token_type_count", kDefaultTypes));
    config.set("n_types", n_types);
  }
  QUERN_CHECK(read_head(source, config));
  if (kind == SourceKind::kGguf) {
    QUERN_CHECK(read_gguf_pooling(source, kGguf, config));
    QUERN_CHECK(read_gguf_head(source, kGguf, config));
    const bool has_types = source.has("token_types.weight");
    config.set("has_types", has_types);
    if (!has_types) config.set("n_types", std::int64_t{0});
  }
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  QUERN_TRY(sequence, config.boolean("head.sequence"));
  config.set("has_pooler", !masked_lm && !sequence);
  QUERN_TRY(activation, config.string("activation"));
  config.set("head.activation", masked_lm ? activation : std::string("tanh"));
  config.set("architecture", std::string("bert"));
  return config;
}

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("bert.");
    add_bert_embeddings(table);
    add_bert_layers(table);
    table
        .matrix({"pooler", "pooler.dense", "cls"}, "dim", "dim",
                {.when = "has_pooler?", .optional = true})
        .matrix({"head.dense", "pooler.dense", "cls"}, "head_width", "dim",
                {.when = "head.sequence"})
        .matrix({"head.out", "classifier", "cls.output"}, "n_labels", "head_width",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.tokens", .base = false})
        .matrix({"head.dense", "cls.predictions.transform.dense", ""}, "head_width", "dim",
                {.when = "head.masked_lm", .base = false})
        .norm({"head.norm", "cls.predictions.transform.LayerNorm", ""}, "head_width",
              {.when = "head.masked_lm", .base = false})
        .masked_word_output("cls.predictions.decoder",
                            {"cls.predictions.decoder.bias", "cls.predictions.bias"},
                            "head.masked_lm");
    return table;
  }();
  return kTable.rules();
}

}  // namespace

extern const Architecture kBert;
const Architecture kBert = {
    "bert",
    {"BertModel", "BertForMaskedLM", "BertForSequenceClassification", "BertForTokenClassification"},
    {kGguf},
    read_config,
    write_bert_gguf_config,
    tensors,
    build_post_norm_encoder};

}  // namespace quern::models
