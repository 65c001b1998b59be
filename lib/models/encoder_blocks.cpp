#include "models/encoder_blocks.h"

#include <cmath>

#include "models/config_io.h"

namespace quern::models {

using graph::GraphBuilder;
using graph::kNone;
using graph::ValueId;
using graph::WeightId;

Result<EncoderDims> EncoderDims::read(const Config& config) {
  EncoderDims dims{};
  const auto read = [&](std::int64_t EncoderDims::*field, std::string_view key) -> Status {
    QUERN_TRY(value, evaluate_dimension(key, config));
    dims.*field = value;
    return {};
  };
  QUERN_CHECK(read(&EncoderDims::vocab_size, "vocab_size"));
  QUERN_CHECK(read(&EncoderDims::dim, "dim"));
  QUERN_CHECK(read(&EncoderDims::embed_dim, "embed_dim"));
  QUERN_CHECK(read(&EncoderDims::n_layers, "n_layers"));
  QUERN_CHECK(read(&EncoderDims::n_heads, "n_heads"));
  QUERN_CHECK(read(&EncoderDims::head_dim, "head_dim"));
  QUERN_CHECK(read(&EncoderDims::ffn_dim, "ffn_dim"));
  QUERN_CHECK(read(&EncoderDims::n_positions, "n_positions"));
  QUERN_TRY(offset, config.integer_or("position_offset", 0));
  QUERN_TRY(n_types, config.integer_or("n_types", 0));
  QUERN_TRY(norm_eps, config.number("norm_eps"));
  QUERN_TRY(word, config.string("activation"));
  QUERN_TRY(activation, parse_activation(word));
  if (!(norm_eps >= 0.0 && norm_eps < 1.0))
    return Error(ErrorCode::kOutOfRange, "the epsilon of the norms is out of range").of("norm_eps");
  if (n_types < 0 || n_types > dims.vocab_size)
    return Error(ErrorCode::kOutOfRange, "the number of token types is out of range").of("n_types");
  dims.position_offset = offset;
  dims.n_types = n_types;
  dims.norm_eps = static_cast<float>(norm_eps);
  dims.activation = activation;
  return dims;
}

ValueId encoder_norm(GraphBuilder& g, const EncoderDims& dims, ValueId x, std::string_view name,
                     std::int64_t n) {
  return g.layer_norm(x, g.vector(name, n), g.vector(std::string(name) + ".bias", n, true),
                      dims.norm_eps, name);
}

ValueId encoder_embedding(GraphBuilder& g, const EncoderDims& dims, WeightId embed,
                          bool positions) {
  ValueId x = g.embedding(embed);
  if (dims.n_types > 0) {
    const WeightId types = g.matrix("type_embed", dims.n_types, dims.embed_dim);
    x = g.add(x, g.type_embedding(types, "types"), "with_types");
  }
  if (positions) {
    const WeightId table = g.matrix("pos_embed", dims.n_positions, dims.embed_dim);
    x = g.add(x, g.position_embedding(table, dims.position_offset), "with_positions");
  }
  return x;
}

ValueId encoder_attention(GraphBuilder& g, const EncoderDims& dims, std::int64_t layer, ValueId h,
                          ValueId residual, const EncoderAttention& options) {
  const std::int64_t width = dims.n_heads * dims.head_dim;
  ValueId q = project(g, h, layer_name(layer, "wq"), width);
  ValueId k = project(g, h, layer_name(layer, "wk"), width);
  const ValueId v = project(g, h, layer_name(layer, "wv"), width);
  if (options.angles != kNone) {
    q = g.rope(q, options.angles, dims.head_dim, false, "q_rope");
    k = g.rope(k, options.angles, dims.head_dim, false, "k_rope");
  }
  const float scale =
      options.scale != 0.0F ? options.scale : 1.0F / std::sqrt(static_cast<float>(dims.head_dim));
  const ValueId sums = g.encoder_attention(
      {q, k, v, dims.n_heads, scale, options.window, options.bias, options.disentangled},
      "attention");
  return project(g, sums, layer_name(layer, "wo"), dims.dim, residual);
}

ValueId encoder_mlp(GraphBuilder& g, const EncoderDims& dims, std::int64_t layer, ValueId h,
                    ValueId residual, bool gated) {
  const std::int64_t n = dims.ffn_dim;
  ValueId inner;
  if (!gated) {
    inner =
        g.activation(project(g, h, layer_name(layer, "w_up"), n), dims.activation, "activation");
  } else {
    const ValueId gate = project(g, h, layer_name(layer, "w_gate"), n);
    inner = g.glu(gate, project(g, h, layer_name(layer, "w_up"), n), dims.activation, "glu");
  }
  return project(g, inner, layer_name(layer, "w_down"), dims.dim, residual);
}

ValueId post_norm_layer(GraphBuilder& g, const EncoderDims& dims, std::int64_t layer, ValueId x,
                        const EncoderAttention& options, bool gated) {
  x = encoder_attention(g, dims, layer, x, x, options);
  x = encoder_norm(g, dims, x, layer_name(layer, "attn_post_norm"), dims.dim);
  x = encoder_mlp(g, dims, layer, x, x, gated);
  return encoder_norm(g, dims, x, layer_name(layer, "ffn_post_norm"), dims.dim);
}

namespace {

/// x through `head.dense`, the head's activation and `head.norm`, each where there is one.
Result<ValueId> head_transform(GraphBuilder& g, const EncoderDims& dims, const Config& config,
                               ValueId x, std::int64_t width) {
  const WeightId dense = g.matrix("head.dense", width, dims.dim, true);
  if (dense != kNone) {
    QUERN_TRY(word, config.string("head.activation"));
    QUERN_TRY(activation, parse_activation(word));
    x = g.linear(x, dense, "head.dense", g.vector("head.dense.bias", width, true));
    x = g.activation(x, activation, "head.activation");
  }
  const WeightId norm = g.vector("head.norm", width, true);
  if (norm != kNone) {
    x = g.layer_norm(x, norm, g.vector("head.norm.bias", width, true), dims.norm_eps, "head.norm");
  }
  return x;
}

Result<graph::Pooling> read_pooling(const Config& config) {
  QUERN_TRY(word, config.string_or("head.pooling", "first"));
  if (word == "first") return graph::Pooling::kFirst;
  if (word == "mean") return graph::Pooling::kMean;
  if (word == "last") return graph::Pooling::kLast;
  return Error(ErrorCode::kUnsupported, "a head's pooling is not implemented")
      .of("head.pooling")
      .want("first, mean or last")
      .got(word);
}

}  // namespace

Status encoder_head(GraphBuilder& g, const EncoderDims& dims, const Config& config, WeightId embed,
                    ValueId x) {
  g.set_layer(-1);
  g.output("last_hidden_state", x);
  QUERN_TRY(masked_lm, config.boolean_or("head.masked_lm", false));
  QUERN_TRY(sequence, config.boolean_or("head.sequence", false));
  QUERN_TRY(tokens, config.boolean_or("head.tokens", false));
  if (!masked_lm && !sequence && !tokens) {
    const WeightId pooler = g.matrix("pooler", dims.dim, dims.dim, true);
    if (pooler == kNone) return {};
    x = g.linear(g.pool(x, graph::Pooling::kFirst, "first"), pooler, "pooler",
                 g.vector("pooler.bias", dims.dim, true));
    g.output("pooler_output", g.activation(x, graph::Activation::kTanh, "pooler_output"));
    return {};
  }
  QUERN_TRY(width, evaluate_dimension("head_width", config));
  QUERN_TRY(pooling, read_pooling(config));
  x = sequence ? g.pool(x, pooling, "pooled") : g.select_rows(x, "outputs");
  QUERN_TRY(transformed, head_transform(g, dims, config, x, width));
  if (masked_lm) {
    const WeightId own = g.matrix("lm_head", dims.vocab_size, width, true);
    x = g.linear(transformed, own != kNone ? own : embed, "logits",
                 g.vector("lm_head.bias", dims.vocab_size, true));
  } else {
    QUERN_TRY(n_labels, evaluate_dimension("n_labels", config));
    x = g.linear(transformed, g.matrix("head.out", n_labels, width), "logits",
                 g.vector("head.out.bias", n_labels, true));
  }
  g.output("logits", x);
  return {};
}

Result<graph::Graph> build_post_norm_encoder(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, EncoderDims::read(config));
  GraphBuilder g(weights, dims.vocab_size);
  const WeightId embed = g.matrix("embed", dims.vocab_size, dims.embed_dim);
  ValueId x = encoder_embedding(g, dims, embed, true);
  x = encoder_norm(g, dims, x, "embed_norm", dims.embed_dim);
  if (dims.embed_dim != dims.dim) {
    x = g.linear(x, g.matrix("embed_proj", dims.dim, dims.embed_dim), "embed_proj",
                 g.vector("embed_proj.bias", dims.dim, true));
  }
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    x = post_norm_layer(g, dims, layer, x, {});
  }
  QUERN_CHECK(encoder_head(g, dims, config, embed, x));
  return g.finish();
}

}  // namespace quern::models
