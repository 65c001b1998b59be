// DistilBERT (Sanh et al. 2019): BERT without token types and pooler, under names of its own.
#include <array>

#include "models/encoder_blocks.h"
#include "models/encoder_config.h"
#include "models/encoder_tensors.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "bert";  ///< Which llama.cpp makes of it.

constexpr std::array<ConfigKey, 6> kKeys = {{
    {"vocab_size", "vocab_size", ""},
    {"dim", "dim", ""},
    {"n_layers", "n_layers", ""},
    {"n_heads", "n_heads", ""},
    {"ffn_dim", "hidden_dim", ""},
    {"n_positions", "max_position_embeddings", ""},
}};

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_encoder_config(source, kind, kKeys, "", "activation"));
  QUERN_CHECK(read_head(source, config));
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  QUERN_TRY(activation, config.string("activation"));
  config.set("head.activation", masked_lm ? activation : std::string("relu"));
  config.set("architecture", std::string("distilbert"));
  return config;
}

void add_layers(EncoderTable& table) {
  const std::string layer = "transformer.layer.{}.";
  table.matrix({"layers.{}.wq", layer + "attention.q_lin", "blk.{}.attn_q"}, "dim", "dim")
      .matrix({"layers.{}.wk", layer + "attention.k_lin", "blk.{}.attn_k"}, "dim", "dim")
      .matrix({"layers.{}.wv", layer + "attention.v_lin", "blk.{}.attn_v"}, "dim", "dim")
      .matrix({"layers.{}.wo", layer + "attention.out_lin", "blk.{}.attn_output"}, "dim", "dim")
      .norm({"layers.{}.attn_post_norm", layer + "sa_layer_norm", "blk.{}.attn_output_norm"}, "dim")
      .matrix({"layers.{}.w_up", layer + "ffn.lin1", "blk.{}.ffn_up"}, "ffn_dim", "dim")
      .matrix({"layers.{}.w_down", layer + "ffn.lin2", "blk.{}.ffn_down"}, "dim", "ffn_dim")
      .norm({"layers.{}.ffn_post_norm", layer + "output_layer_norm", "blk.{}.layer_output_norm"},
            "dim");
}

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("distilbert.");
    table
        .table({"embed", "embeddings.word_embeddings", "token_embd"}, "vocab_size", "embed_dim",
               Role::kEmbedding)
        .table({"pos_embed", "embeddings.position_embeddings", "position_embd"}, "n_positions",
               "embed_dim", Role::kExact)
        .norm({"embed_norm", "embeddings.LayerNorm", "token_embd_norm"}, "embed_dim");
    add_layers(table);
    table
        .matrix({"head.dense", "pre_classifier", ""}, "head_width", "dim",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.tokens", .base = false})
        .matrix({"head.dense", "vocab_transform", ""}, "head_width", "dim",
                {.when = "head.masked_lm", .base = false})
        .norm({"head.norm", "vocab_layer_norm", ""}, "head_width",
              {.when = "head.masked_lm", .base = false})
        .masked_word_output("vocab_projector", {"vocab_projector.bias"}, "head.masked_lm");
    return table;
  }();
  return kTable.rules();
}

}  // namespace

extern const Architecture kDistilBert;
const Architecture kDistilBert = {
    "distilbert",
    {"DistilBertModel", "DistilBertForMaskedLM", "DistilBertForSequenceClassification",
     "DistilBertForTokenClassification"},
    {kGguf},
    read_config,
    write_bert_gguf_config,
    tensors,
    build_post_norm_encoder};

}  // namespace quern::models
