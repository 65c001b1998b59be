// ModernBERT (Warner et al. 2024, "Smarter, Better, Faster, Longer"): norms before the blocks,
// rotary positions, a gated MLP, and windows on both sides in two of three layers.
#include <cmath>

#include "models/encoder_blocks.h"
#include "models/encoder_tensors.h"
#include "models/modernbert_config.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

const std::vector<TensorRule>& tensors() {
  static const EncoderTable kTable = [] {
    EncoderTable table("model.");
    const EncoderTable::Options norm{.bias_when = "norm_bias"};
    const EncoderTable::Options attention{.bias_when = "attention_bias"};
    const EncoderTable::Options mlp{.bias_when = "mlp_bias"};
    table
        .table({"embed", "embeddings.tok_embeddings", "token_embd"}, "vocab_size", "embed_dim",
               Role::kEmbedding)
        .norm({"embed_norm", "embeddings.norm", "token_embd_norm"}, "embed_dim", norm)
        .norm({"layers.{}.attn_norm", "layers.{}.attn_norm", "blk.{}.attn_norm"}, "dim",
              {.when = "attn_norms", .bias_when = "attn_norm_biases"})
        .fused_qkv("layers.{}.attn.Wqkv", "blk.{}.attn_qkv", attention)
        .matrix({"layers.{}.wo", "layers.{}.attn.Wo", "blk.{}.attn_output"}, "dim", "dim",
                attention)
        .norm({"layers.{}.ffn_norm", "layers.{}.mlp_norm", "blk.{}.ffn_norm"}, "dim", norm)
        .matrix({"layers.{}.w_gate", "layers.{}.mlp.Wi", "blk.{}.ffn_up"}, "ffn_dim", "dim", mlp)
        .rows_of("", "2*ffn_dim")
        .matrix({"layers.{}.w_up", "layers.{}.mlp.Wi", "blk.{}.ffn_up"}, "ffn_dim", "dim", mlp)
        .rows_of("ffn_dim", "2*ffn_dim")
        .matrix({"layers.{}.w_down", "layers.{}.mlp.Wo", "blk.{}.ffn_down"}, "dim", "ffn_dim", mlp)
        .norm({"norm", "final_norm", "output_norm"}, "dim", norm)
        .matrix({"head.dense", "head.dense", "cls"}, "head_width", "dim",
                {.when = "has_head", .base = false, .bias_when = "head.dense_bias"})
        .norm({"head.norm", "head.norm", "cls.norm"}, "head_width",
              {.when = "has_head", .base = false, .bias_when = "head.norm_bias"})
        .matrix({"head.out", "classifier", "cls.output"}, "n_labels", "head_width",
                {.when = "head.sequence", .base = false})
        .matrix({"head.out", "classifier", ""}, "n_labels", "head_width",
                {.when = "head.tokens", .base = false})
        .masked_word_output("decoder", {"decoder.bias"}, "head.decoder_bias");
    return table;
  }();
  return kTable.rules();
}

Result<graph::Graph> build(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, EncoderDims::read(config));
  QUERN_TRY(windows, modernbert_windows(config, dims.n_layers));
  QUERN_TRY(theta, config.number("rope.theta"));
  QUERN_TRY(local_theta, config.number("rope.local_theta"));
  if (!(theta > 0) || !(local_theta > 0))
    return Error(ErrorCode::kOutOfRange, "rope theta is not positive").of("rope.theta");
  graph::GraphBuilder g(weights, dims.vocab_size);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.embed_dim);
  graph::ValueId x = encoder_embedding(g, dims, embed, false);
  x = encoder_norm(g, dims, x, "embed_norm", dims.embed_dim);
  const graph::ValueId angles = g.rope_angles({plain_frequencies(theta, dims.head_dim)}, "angles");
  const graph::ValueId local_angles =
      g.rope_angles({plain_frequencies(local_theta, dims.head_dim)}, "local_angles");
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    const std::int64_t window = windows[static_cast<std::size_t>(layer)];
    const EncoderAttention attention{.angles = window > 0 ? local_angles : angles,
                                     .window = window};
    // The first layer's input has just been normalised.
    const graph::ValueId h =
        layer == 0 ? x : encoder_norm(g, dims, x, layer_name(layer, "attn_norm"), dims.dim);
    x = encoder_attention(g, dims, layer, h, x, attention);
    x = encoder_mlp(g, dims, layer,
                    encoder_norm(g, dims, x, layer_name(layer, "ffn_norm"), dims.dim), x, true);
  }
  x = encoder_norm(g, dims, x, "norm", dims.dim);
  QUERN_CHECK(encoder_head(g, dims, config, embed, x));
  return g.finish();
}

}  // namespace

extern const Architecture kModernBert;
const Architecture kModernBert = {
    "modernbert",
    {"ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification",
     "ModernBertForTokenClassification"},
    {kModernBertGguf},
    read_modernbert_config,
    write_modernbert_gguf_config,
    tensors,
    build};

}  // namespace quern::models
