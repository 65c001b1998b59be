// The decoder as a whole, from the blocks.
#include <cmath>

#include "models/blocks.h"
#include "models/mixture.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

/// One decoder in the making. Used once.
class DecoderBuilder {
 public:
  DecoderBuilder(graph::GraphBuilder& g, const DecoderDims& dims, const DecoderLayout& layout,
                 graph::ValueId angles)
      : g_(g), dims_(dims), layout_(layout), angles_(angles) {}

  graph::ValueId layer(std::int64_t number, graph::ValueId x) {
    layer_ = number;
    g_.set_layer(static_cast<std::int32_t>(number));
    if (layout_.parallel) return parallel(x);
    x = around(x, "attn_norm", "attn_post_norm", &DecoderBuilder::attention);
    return around(x, "ffn_norm", "ffn_post_norm", &DecoderBuilder::mlp);
  }

 private:
  using Block = graph::ValueId (DecoderBuilder::*)(graph::ValueId h, graph::ValueId residual);

  graph::ValueId attention(graph::ValueId h, graph::ValueId residual) {
    if (layout_.mixer && !layout_.attention_layers[static_cast<std::size_t>(layer_)])
      return layout_.mixer(g_, layer_, h, residual);
    const bool rotates =
        layout_.rotary_layers.empty() || layout_.rotary_layers[static_cast<std::size_t>(layer_)];
    AttentionOptions options = layout_.attention;
    if (layout_.scale_by_layer) {
      const float own = options.scale != 0.0F
                            ? options.scale
                            : 1.0F / std::sqrt(static_cast<float>(dims_.head_dim));
      options.scale = own / static_cast<float>(layer_ + 1);
    }
    if (layout_.latent.kv_rank > 0)
      return latent_block(g_, dims_, layer_, h, angles_, residual, options, layout_.latent);
    return attention_block(g_, dims_, layer_, h, rotates ? angles_ : graph::kNone, residual,
                           options);
  }

  graph::ValueId mlp(graph::ValueId h, graph::ValueId residual) {
    if (layout_.mixture.in_layer(layer_))
      return mixture_mlp(g_, dims_, layer_, h, residual, layout_.mixture);
    return layout_.gated ? gated_mlp(g_, dims_, layer_, h, residual)
                         : plain_mlp(g_, dims_, layer_, h, residual);
  }

  graph::ValueId norm(graph::ValueId x, std::string_view name) {
    return norm_block(g_, dims_, layer_, x, name, layout_.norm);
  }

  /// A block with its norms and its residual connection.
  graph::ValueId around(graph::ValueId x, std::string_view before, std::string_view after,
                        Block block) {
    const NormPlacement placement = layout_.placement;
    const bool first = placement == NormPlacement::kBefore || placement == NormPlacement::kBoth;
    const graph::ValueId h = first ? norm(x, before) : x;
    const graph::ValueId residual = layout_.residual_from_norm ? h : x;
    if (placement == NormPlacement::kAfterResidual)
      return norm((this->*block)(h, residual), before);
    if (placement == NormPlacement::kBefore && layout_.residual_scale == 1.0F)
      return (this->*block)(h, residual);
    graph::ValueId y = (this->*block)(h, graph::kNone);
    if (placement != NormPlacement::kBefore) y = norm(y, after);
    if (layout_.residual_scale != 1.0F) y = g_.scale(y, layout_.residual_scale, "scaled");
    return g_.add(y, residual, "residual");
  }

  graph::ValueId parallel(graph::ValueId x) {
    const graph::ValueId h = norm(x, "attn_norm");
    const bool own = g_.has(layer_name(layer_, "ffn_norm"));
    const graph::ValueId mlp_input = own ? norm(x, "ffn_norm") : h;
    return mlp(mlp_input, attention(h, x));
  }

  graph::GraphBuilder& g_;
  const DecoderDims& dims_;
  const DecoderLayout& layout_;
  graph::ValueId angles_;
  std::int64_t layer_ = 0;
};

graph::ValueId embed_tokens(graph::GraphBuilder& g, const DecoderDims& dims,
                            const DecoderLayout& layout, graph::WeightId embed) {
  graph::ValueId x = g.embedding(embed, layout.embed_scale);
  if (layout.embed_dim > 0)
    x = g.linear(x, g.matrix("project_in", dims.dim, layout.embed_dim), "project_in");
  if (layout.position_rows > 0) {
    const graph::WeightId table = g.matrix("positions", layout.position_rows, dims.dim);
    x = g.add(x, g.position_embedding(table, layout.position_offset), "with_positions");
  }
  if (layout.embed_norm) x = norm_of(g, layout.norm, dims.norm_eps, x, "embed_norm");
  return x;
}

}  // namespace

Result<graph::Graph> build_decoder(const Config& config, const WeightLookup& weights,
                                   const DecoderLayout& layout) {
  QUERN_TRY(dims, DecoderDims::read(config));
  if (!layout.rotary_layers.empty() &&
      layout.rotary_layers.size() != static_cast<std::size_t>(dims.n_layers)) {
    return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
        .of("rotary_layers");
  }
  if (layout.mixer && layout.attention_layers.size() != static_cast<std::size_t>(dims.n_layers)) {
    return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
        .of("attention_layers");
  }
  graph::GraphBuilder g(weights, dims.vocab_size);
  const std::int64_t embed_dim = layout.embed_dim > 0 ? layout.embed_dim : dims.dim;
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, embed_dim);
  graph::ValueId x = embed_tokens(g, dims, layout, embed);
  graph::ValueId angles = graph::kNone;
  if (layout.rotary) {
    QUERN_TRY(op, rope_angles(config, dims.head_dim));
    angles = g.rope_angles(std::move(op), "angles");
  }
  DecoderBuilder builder(g, dims, layout, angles);
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) x = builder.layer(layer, x);
  decoder_head(g, dims, embed, x, layout);
  return g.finish();
}

}  // namespace quern::models
