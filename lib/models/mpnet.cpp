// MPNet (Song et al. 2020): BERT without token types, with one relative bias for all layers and
// positions that begin behind the padding's id.
#include "models/encoder_blocks.h"
#include "models/encoder_config.h"
#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

// Whatever `relative_attention_num_buckets` says: the published code never reads it.
constexpr std::int64_t kBuckets = 32;
constexpr std::int64_t kMaxDistance = 128;

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_encoder_config(source, kind, bert_keys(), "", "hidden_act"));
  QUERN_TRY(buckets, source.integer_or("relative_attention_num_buckets", kBuckets));
  config.set("n_buckets", buckets);  // Of the table; the first 32 are used.
  config.set("n_types", std::int64_t{0});
  // Unlike RoBERTa's, these positions take padding to be 1 whatever the configuration says.
  Config fixed;
  QUERN_CHECK(read_padded_positions(fixed, config));
  QUERN_CHECK(read_head(source, config));
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  config.set("head.activation", std::string(masked_lm ? "gelu_erf" : "tanh"));
  config.set("architecture", std::string("mpnet"));
  return config;
}

void add_layers(EncoderTable& table) {
  const std::string layer = "encoder.layer.{}.";
  table.matrix({"layers.{}.wq", layer + "attention.attn.q", ""}, "dim", "dim")
      .matrix({"layers.{}.wk", layer + "attention.attn.k", ""}, "dim", "dim")
      .matrix({"layers.{}.wv", layer + "attention.attn.v", ""}, "dim", "dim")
      .matrix({"layers.{}.wo", layer + "attention.attn.o", ""}, "dim", "dim")
      .norm({"layers.{}.attn_post_norm", layer + "attention.LayerNorm", ""}, "dim")
      .matrix({"layers.{}.w_up", layer + "intermediate.dense", ""}, "ffn_dim", "dim")
      .matrix({"layers.{}.w_down", layer + "output.dense", ""}, "dim", "ffn_dim")
      .norm({"layers.{}.ffn_post_norm", layer + "output.LayerNorm", ""}, "dim");
}

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("mpnet.");
    table
        .table({"embed", "embeddings.word_embeddings", ""}, "vocab_size", "embed_dim",
               Role::kEmbedding)
        .table({"pos_embed", "embeddings.position_embeddings", ""}, "n_positions", "embed_dim",
               Role::kExact)
        .norm({"embed_norm", "embeddings.LayerNorm", ""}, "embed_dim")
        .table({"rel_bias", "encoder.relative_attention_bias", ""}, "n_buckets", "n_heads",
               Role::kExact);
    add_layers(table);
    table.matrix({"pooler", "pooler.dense", ""}, "dim", "dim", {.when = "!head.masked_lm?"});
    add_roberta_heads(table);
    return table;
  }();
  return kTable.rules();
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, EncoderDims::read(config));
  QUERN_TRY(buckets, evaluate_dimension("n_buckets", config));
  graph::GraphBuilder g(weights, dims.vocab_size);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.embed_dim);
  graph::ValueId x = encoder_embedding(g, dims, embed, true);
  x = encoder_norm(g, dims, x, "embed_norm", dims.embed_dim);
  const EncoderAttention attention{
      .bias = {g.matrix("rel_bias", buckets, dims.n_heads), kBuckets, kMaxDistance, true}};
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    x = post_norm_layer(g, dims, layer, x, attention);
  }
  QUERN_CHECK(encoder_head(g, dims, config, embed, x));
  return g.finish();
}

}  // namespace

extern const Architecture kMpNet;
const Architecture kMpNet = {"mpnet",
                             {"MPNetModel", "MPNetForMaskedLM", "MPNetForSequenceClassification",
                              "MPNetForTokenClassification"},
                             {},
                             read_config,
                             nullptr,
                             tensors,
                             build};

}  // namespace quern::models
