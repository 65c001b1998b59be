// Nomic BERT (Nussbaum et al. 2024, "Nomic Embed"): BERT with rotary positions, a gated MLP and no
// biases.
#include "models/encoder_blocks.h"
#include "models/encoder_config.h"
#include "models/encoder_tensors.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::string_view kGguf = "nomic-bert";
constexpr std::int64_t kDefaultTypes = 2;
constexpr double kDefaultTheta = 1000.0;

Result<Config> read_config(const Config& source, SourceKind kind) {
  QUERN_TRY(config, read_encoder_config(source, kind, bert_keys(), kGguf, "hidden_act"));
  const bool hf = kind == SourceKind::kHuggingFace;
  if (!hf || !source.has("hidden_act")) config.set("activation", std::string("silu"));
  if (!config.has("n_types")) {
    QUERN_TRY(n_types, source.integer_or("tokenizer.ggml.token_type_count", kDefaultTypes));
    config.set("n_types", n_types);
  }
  QUERN_TRY(own, config.integer("head_dim"));
  QUERN_TRY(head_dim, hf ? source.integer_or("head_dim", own) : own);
  config.set("head_dim", head_dim);
  QUERN_CHECK(read_rope(source, kind, {.gguf_arch = kGguf, .theta = kDefaultTheta}, config));
  QUERN_CHECK(read_head(source, config));
  if (!hf) {
    QUERN_CHECK(read_gguf_pooling(source, kGguf, config));
    QUERN_CHECK(read_gguf_head(source, kGguf, config));
    QUERN_CHECK(refuse(config, "head.sequence", "a Nomic BERT that ranks is not read from GGUF"));
  }
  QUERN_TRY(masked_lm, config.boolean("head.masked_lm"));
  QUERN_TRY(activation, config.string("activation"));
  config.set("head.activation", masked_lm ? activation : std::string("tanh"));
  config.set("architecture", std::string("nomic_bert"));
  return config;
}

Result<Config> write_gguf_config(const Config& config) {
  for (const char* head : {"head.masked_lm", "head.sequence", "head.tokens"})
    QUERN_CHECK(refuse(config, head, "GGUF has no words for this head of a Nomic BERT"));
  QUERN_CHECK(check_gguf_activation(config, "silu"));
  QUERN_TRY(width, evaluate_dimension("n_heads*head_dim", config));
  QUERN_TRY(dim, evaluate_dimension("dim", config));
  if (width != dim)
    return Error(ErrorCode::kUnsupported,
                 "GGUF has no words for this width of a Nomic BERT's heads")
        .of("head_dim")
        .want(std::to_string(dim) + " for all heads together")
        .got(std::to_string(width));
  Config out = write_gguf_keys(bert_keys(), config, kGguf);
  QUERN_CHECK(write_gguf_rope(config, kGguf, out));
  QUERN_CHECK(write_gguf_pooling(config, kGguf, out));
  return out;
}

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("nomic_bert.");
    const EncoderTable::Options plain{.bias = false};
    const std::string layer = "encoder.layers.{}.";
    table
        .table({"embed", "embeddings.word_embeddings", "token_embd"}, "vocab_size", "embed_dim",
               Role::kEmbedding)
        .table({"type_embed", "embeddings.token_type_embeddings", "token_types"}, "n_types",
               "embed_dim", Role::kExact)
        .norm({"embed_norm", "emb_ln", "token_embd_norm"}, "embed_dim")
        .fused_qkv(layer + "attn.Wqkv", "blk.{}.attn_qkv", plain)
        .matrix({"layers.{}.wo", layer + "attn.out_proj", "blk.{}.attn_output"}, "dim",
                "n_heads*head_dim", plain)
        .norm({"layers.{}.attn_post_norm", layer + "norm1", "blk.{}.attn_output_norm"}, "dim")
        .matrix({"layers.{}.w_gate", layer + "mlp.fc12", "blk.{}.ffn_gate"}, "ffn_dim", "dim",
                plain)
        .matrix({"layers.{}.w_up", layer + "mlp.fc11", "blk.{}.ffn_up"}, "ffn_dim", "dim", plain)
        .matrix({"layers.{}.w_down", layer + "mlp.fc2", "blk.{}.ffn_down"}, "dim", "ffn_dim", plain)
        .norm({"layers.{}.ffn_post_norm", layer + "norm2", "blk.{}.layer_output_norm"}, "dim")
        .matrix({"pooler", "pooler.dense", ""}, "dim", "dim", {.when = "!head.masked_lm?"})
        .matrix({"head.dense", "pooler.dense", ""}, "head_width", "dim", {.when = "head.sequence"})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.tokens", .base = false})
        .matrix({"head.dense", "cls.predictions.transform.dense", ""}, "head_width", "dim",
                {.when = "head.masked_lm", .base = false})
        .norm({"head.norm", "cls.predictions.transform.layer_norm", ""}, "head_width",
              {.when = "head.masked_lm", .base = false})
        .or_named("cls.predictions.transform.LayerNorm")
        .masked_word_output("cls.predictions.decoder",
                            {"cls.predictions.decoder.bias", "cls.predictions.bias"},
                            "head.masked_lm");
    return table;
  }();
  return kTable.rules();
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, EncoderDims::read(config));
  QUERN_TRY(rope, rope_angles(config, dims.head_dim));
  graph::GraphBuilder g(weights, dims.vocab_size);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.embed_dim);
  graph::ValueId x = encoder_embedding(g, dims, embed, false);
  x = encoder_norm(g, dims, x, "embed_norm", dims.embed_dim);
  const EncoderAttention attention{.angles = g.rope_angles(std::move(rope), "angles")};
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    x = post_norm_layer(g, dims, layer, x, attention, true);
  }
  QUERN_CHECK(encoder_head(g, dims, config, embed, x));
  return g.finish();
}

}  // namespace

extern const Architecture kNomicBert;
const Architecture kNomicBert = {
    "nomic_bert",
    {"NomicBertModel", "NomicBertForMaskedLM", "NomicBertForSequenceClassification",
     "NomicBertForTokenClassification"},
    {kGguf},
    read_config,
    write_gguf_config,
    tensors,
    build};

}  // namespace quern::models
