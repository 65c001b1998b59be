// DeBERTa v2 and v3 (He et al. 2021, "DeBERTa" and "DeBERTaV3"): content and relative position
// attend to each other; logarithmic buckets of distances.
#include <cmath>

#include "models/deberta_v2_config.h"
#include "models/encoder_blocks.h"
#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

void add_layers(EncoderTable& table) {
  const std::string layer = "encoder.layer.{}.";
  const std::string self = layer + "attention.self.";
  table.matrix({"layers.{}.wq", self + "query_proj", ""}, "dim", "dim")
      .matrix({"layers.{}.wk", self + "key_proj", ""}, "dim", "dim")
      .matrix({"layers.{}.wv", self + "value_proj", ""}, "dim", "dim")
      .matrix({"layers.{}.pos_key", self + "pos_key_proj", ""}, "dim", "dim",
              {.when = "relative.own_keys"})
      .matrix({"layers.{}.pos_query", self + "pos_query_proj", ""}, "dim", "dim",
              {.when = "relative.own_queries"})
      .matrix({"layers.{}.wo", layer + "attention.output.dense", ""}, "dim", "dim")
      .norm({"layers.{}.attn_post_norm", layer + "attention.output.LayerNorm", ""}, "dim")
      .matrix({"layers.{}.w_up", layer + "intermediate.dense", ""}, "ffn_dim", "dim")
      .matrix({"layers.{}.w_down", layer + "output.dense", ""}, "dim", "ffn_dim")
      .norm({"layers.{}.ffn_post_norm", layer + "output.LayerNorm", ""}, "dim");
}

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("deberta.");
    table
        .table({"embed", "embeddings.word_embeddings", ""}, "vocab_size", "embed_dim",
               Role::kEmbedding)
        .table({"pos_embed", "embeddings.position_embeddings", ""}, "n_positions", "embed_dim",
               Role::kExact, "has_positions")
        .table({"type_embed", "embeddings.token_type_embeddings", ""}, "n_types", "embed_dim",
               Role::kExact, "has_types")
        .matrix({"embed_proj", "embeddings.embed_proj", ""}, "dim", "embed_dim",
                {.when = "has_embed_proj", .bias = false})
        .norm({"embed_norm", "embeddings.LayerNorm", ""}, "dim")
        .table({"rel_embed", "encoder.rel_embeddings", ""}, "2*relative.span", "dim", Role::kExact,
               "relative")
        .norm({"rel_norm", "encoder.LayerNorm", ""}, "dim", {.when = "relative.norm"});
    add_layers(table);
    const EncoderTable::Options masked{.when = "head.masked_lm", .base = false};
    table
        .matrix({"head.dense", "pooler.dense", ""}, "head_width", "dim",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.tokens", .base = false})
        .matrix({"head.dense", "cls.predictions.transform.dense", ""}, "head_width", "dim", masked)
        .or_named("lm_predictions.lm_head.dense")
        .norm({"head.norm", "cls.predictions.transform.LayerNorm", ""}, "head_width", masked)
        .or_named("lm_predictions.lm_head.LayerNorm")
        .masked_word_output(
            "cls.predictions.decoder",
            {"cls.predictions.decoder.bias", "cls.predictions.bias", "lm_predictions.lm_head.bias"},
            "head.masked_lm");
    return table;
  }();
  return kTable.rules();
}

/// The relative positions as keys or queries of one layer, by matrices of their own or the shared
/// ones.
graph::ValueId positions_as(graph::GraphBuilder& g, const EncoderDims& dims, std::int64_t layer,
                            graph::ValueId relative, std::string_view own,
                            std::string_view shared) {
  std::string name = layer_name(layer, own);
  graph::WeightId matrix = g.matrix(name, dims.dim, dims.dim, true);
  if (matrix == graph::kNone) {
    name = layer_name(layer, shared);
    matrix = g.matrix(name, dims.dim, dims.dim);
  }
  return g.linear(relative, matrix, own, g.vector(name + ".bias", dims.dim));
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, EncoderDims::read(config));
  QUERN_TRY(relative, config.boolean("relative"));
  QUERN_TRY(by_keys, config.boolean("relative.keys"));
  QUERN_TRY(by_queries, config.boolean("relative.queries"));
  QUERN_TRY(positions, config.boolean("has_positions"));
  QUERN_TRY(span, evaluate_dimension("relative.span", config));
  QUERN_TRY(n_buckets, config.integer("relative.n_buckets"));
  QUERN_TRY(max_distance, evaluate_dimension("relative.max_distance", config));
  graph::GraphBuilder g(weights, dims.vocab_size);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.embed_dim);
  graph::ValueId x = encoder_embedding(g, dims, embed, positions);
  if (dims.embed_dim != dims.dim)
    x = g.linear(x, g.matrix("embed_proj", dims.dim, dims.embed_dim), "embed_proj");
  x = encoder_norm(g, dims, x, "embed_norm", dims.dim);
  graph::ValueId table = graph::kNone;
  if (relative) table = g.constant_rows(g.matrix("rel_embed", 2 * span, dims.dim), "relative");
  if (*config.boolean_or("relative.norm", false))
    table = encoder_norm(g, dims, table, "rel_norm", dims.dim);
  EncoderAttention attention;
  attention.scale =
      1.0F / std::sqrt(static_cast<float>(dims.head_dim) *
                       static_cast<float>(1 + (by_keys ? 1 : 0) + (by_queries ? 1 : 0)));
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    attention.disentangled = {.n_buckets = n_buckets, .max_distance = max_distance};
    if (relative && by_keys)
      attention.disentangled.keys = positions_as(g, dims, layer, table, "pos_key", "wk");
    if (relative && by_queries)
      attention.disentangled.queries = positions_as(g, dims, layer, table, "pos_query", "wq");
    x = post_norm_layer(g, dims, layer, x, attention);
  }
  QUERN_CHECK(encoder_head(g, dims, config, embed, x));
  return g.finish();
}

}  // namespace

extern const Architecture kDebertaV2;
const Architecture kDebertaV2 = {
    "deberta_v2",
    {"DebertaV2Model", "DebertaV2ForMaskedLM", "DebertaV2ForSequenceClassification",
     "DebertaV2ForTokenClassification"},
    {},
    read_deberta_v2_config,
    nullptr,
    tensors,
    build};

}  // namespace quern::models
