#include "models/encoder_decoder.h"

#include <cmath>

#include "models/config_io.h"
#include "models/encoder_blocks.h"

namespace quern::models {
namespace {

using graph::kNone;
using graph::StateId;
using graph::ValueId;
using graph::WeightId;

/// The dimensions of one stack, checked. `prefix` is "" or "encoder.".
struct StackDims {
  std::int64_t vocab_size, dim, n_layers, n_heads, head_dim, ffn_dim;
  float norm_eps;
  graph::Activation activation;

  std::int64_t width() const noexcept { return n_heads * head_dim; }

  static Result<StackDims> read(const Config& config, const std::string& prefix) {
    StackDims dims{};
    const auto read = [&](std::int64_t StackDims::*field, const std::string& key) -> Status {
      QUERN_TRY(value, evaluate_dimension(key, config));
      dims.*field = value;
      return {};
    };
    QUERN_CHECK(read(&StackDims::dim, "dim"));
    QUERN_CHECK(read(&StackDims::vocab_size, prefix + "vocab_size"));
    QUERN_CHECK(read(&StackDims::n_layers, prefix + "n_layers"));
    QUERN_CHECK(read(&StackDims::n_heads, prefix + "n_heads"));
    QUERN_CHECK(read(&StackDims::head_dim, prefix + "head_dim"));
    QUERN_CHECK(read(&StackDims::ffn_dim, prefix + "ffn_dim"));
    QUERN_TRY(norm_eps, config.number("norm_eps"));
    QUERN_TRY(word, config.string("activation"));
    QUERN_TRY(activation, parse_activation(word));
    if (!(norm_eps >= 0.0 && norm_eps < 1.0))
      return Error(ErrorCode::kOutOfRange, "the epsilon of the norms is out of range")
          .of("norm_eps");
    dims.norm_eps = static_cast<float>(norm_eps);
    dims.activation = activation;
    return dims;
  }
};

/// One stack in the making. Used once.
class Stack {
 public:
  Stack(graph::GraphBuilder& g, const StackDims& dims, const EncoderDecoderLayout& layout,
        std::string prefix)
      : g_(g), dims_(dims), layout_(layout), prefix_(std::move(prefix)) {
    if (layout_.bias.n_buckets > 0 && !layout_.layers_have_bias) bias_ = bias(prefix_ + "rel_bias");
  }

  /// \param first as EmbeddingOp's.
  ValueId embed(WeightId table, std::int64_t first = -1) {
    ValueId x = g_.embedding(table, layout_.embed_scale, first);
    if (layout_.position_rows > 0) {
      const WeightId rows = g_.matrix(prefix_ + "positions", layout_.position_rows, dims_.dim);
      x = g_.add(x, g_.position_embedding(rows, layout_.position_offset), "with_positions");
    }
    if (layout_.sinusoids) x = g_.add(x, g_.sinusoid(dims_.dim), "with_positions");
    return layout_.embed_norm ? norm(x, prefix_ + "embed_norm") : x;
  }

  ValueId encoder_layer(std::int64_t number, ValueId x) {
    enter(number);
    x = around(x, "attn_norm", [&](ValueId h, ValueId residual) {
      const Heads heads = self_heads(h);
      return project(
          g_.encoder_attention(
              {heads.q, heads.k, heads.v, dims_.n_heads, scale(), 0, heads.bias, {}}, "attention"),
          "wo", dims_.dim, residual);
    });
    return mlp(x);
  }

  ValueId decoder_layer(std::int64_t number, ValueId x, StateId source) {
    enter(number);
    x = around(x, "attn_norm", [&](ValueId h, ValueId residual) {
      const Heads heads = self_heads(h);
      graph::AttentionOp op{heads.q, heads.k, heads.v, own_state(false), dims_.n_heads, scale()};
      op.bias = heads.bias;
      return project(g_.attention(op, "attention"), "wo", dims_.dim, residual);
    });
    x = around(x, "cross_norm", [&](ValueId h, ValueId residual) {
      const ValueId q = project(h, "cross_wq", dims_.width());
      return project(g_.cross_attention({q, source, dims_.n_heads, scale()}, "cross_attention"),
                     "cross_wo", dims_.dim, residual);
    });
    return mlp(x);
  }

  /// The same over the rows of a step, which lie in it whole, as do the source's.
  ValueId taught_layer(std::int64_t number, ValueId x, ValueId states) {
    enter(number);
    x = around(x, "attn_norm", [&](ValueId h, ValueId residual) {
      const Heads heads = self_heads(h);
      graph::EncoderAttentionOp op{heads.q, heads.k, heads.v, dims_.n_heads, scale()};
      op.causal = true;
      return project(g_.encoder_attention(op, "attention"), "wo", dims_.dim, residual);
    });
    x = around(x, "cross_norm", [&](ValueId h, ValueId residual) {
      const ValueId q = project(h, "cross_wq", dims_.width());
      const ValueId k = project(states, "cross_wk", dims_.width());
      const ValueId v = project(states, "cross_wv", dims_.width());
      return project(g_.encoder_attention({q, k, v, dims_.n_heads, scale()}, "cross_attention"),
                     "cross_wo", dims_.dim, residual);
    });
    return mlp(x);
  }

  /// What a layer of the decoder will attend to, from the encoder's states.
  void store_source(std::int64_t number, ValueId states) {
    enter(number);
    const ValueId k = project(states, "cross_wk", dims_.width());
    const ValueId v = project(states, "cross_wv", dims_.width());
    g_.store_source({k, v, own_state(true)}, "stored");
  }

  StateId own_state(bool source) {
    return g_.kv_state({dims_.n_heads, dims_.head_dim, dims_.head_dim, 0, source});
  }

  ValueId norm(ValueId x, const std::string& name) {
    return norm_of(g_, layout_.norm, dims_.norm_eps, x, name);
  }

 private:
  struct Heads {
    ValueId q, k, v;
    graph::RelativeBias bias;
  };

  void enter(std::int64_t number) {
    layer_ = number;
    g_.set_layer(static_cast<std::int32_t>(number));
  }

  std::string name(std::string_view part) const { return prefix_ + layer_name(layer_, part); }

  graph::RelativeBias bias(const std::string& table) {
    graph::RelativeBias with = layout_.bias;
    with.table = g_.matrix(table, with.n_buckets, dims_.n_heads);
    return with;
  }

  Heads self_heads(ValueId h) {
    return {project(h, "wq", dims_.width()), project(h, "wk", dims_.width()),
            project(h, "wv", dims_.width()),
            layout_.layers_have_bias ? bias(name("rel_bias")) : bias_};
  }

  float scale() const {
    return layout_.score_scale != 0.0F ? layout_.score_scale
                                       : 1.0F / std::sqrt(static_cast<float>(dims_.head_dim));
  }

  ValueId project(ValueId h, std::string_view part, std::int64_t rows, ValueId residual = kNone) {
    return models::project(g_, h, name(part), rows, residual);
  }

  /// A block with its norm and its residual connection.
  template <class Block>
  ValueId around(ValueId x, std::string_view norm_name, Block block) {
    if (layout_.norm_first) return block(norm(x, name(norm_name)), x);
    return norm(block(x, x), name(norm_name));
  }

  ValueId mlp(ValueId x) {
    return around(x, "ffn_norm", [&](ValueId h, ValueId residual) {
      ValueId inner;
      if (layout_.gated) {
        const ValueId gate = project(h, "w_gate", dims_.ffn_dim);
        inner = g_.glu(gate, project(h, "w_up", dims_.ffn_dim), dims_.activation, "glu");
      } else {
        inner = g_.activation(project(h, "w_up", dims_.ffn_dim), dims_.activation, "activation");
      }
      return project(inner, "w_down", dims_.dim, residual);
    });
  }

  graph::GraphBuilder& g_;
  const StackDims& dims_;
  const EncoderDecoderLayout& layout_;
  const std::string prefix_;
  graph::RelativeBias bias_ = {};
  std::int64_t layer_ = 0;
};

}  // namespace

Result<graph::Graph> build_source(const Config& config, const WeightLookup& weights,
                                  const EncoderDecoderLayout& layout) {
  QUERN_TRY(dims, StackDims::read(config, "encoder."));
  graph::GraphBuilder g(weights, dims.vocab_size);
  Stack encoder(g, dims, layout, "encoder.");
  const char* table = layout.shared_embedding ? "embed" : "encoder.embed";
  ValueId x = encoder.embed(g.matrix(table, dims.vocab_size, dims.dim));
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) x = encoder.encoder_layer(layer, x);
  g.set_layer(-1);
  if (layout.norm_first) x = encoder.norm(x, "encoder.norm");
  g.output("last_hidden_state", x);
  if (!config.has("n_layers")) return g.finish();
  QUERN_TRY(decoder_dims, StackDims::read(config, ""));
  EncoderDecoderLayout unbiased = layout;
  unbiased.bias = {};
  Stack decoder(g, decoder_dims, unbiased, "");
  for (std::int64_t layer = 0; layer < decoder_dims.n_layers; ++layer)
    decoder.store_source(layer, x);
  return g.finish();
}

Result<graph::Graph> build_target(const Config& config, const WeightLookup& weights,
                                  const EncoderDecoderLayout& layout) {
  QUERN_TRY(dims, StackDims::read(config, ""));
  graph::GraphBuilder g(weights, dims.vocab_size);
  EncoderDecoderLayout causal = layout;
  causal.bias.bidirectional = false;
  Stack decoder(g, dims, causal, "");
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) decoder.own_state(true);
  const WeightId embed = g.matrix("embed", dims.vocab_size, dims.dim);
  ValueId x = decoder.embed(embed);
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer)
    x = decoder.decoder_layer(layer, x, static_cast<StateId>(layer));
  g.set_layer(-1);
  x = g.select_rows(x, "outputs");
  if (layout.norm_first) x = decoder.norm(x, "norm");
  if (layout.logit_scale != 1.0F) x = g.scale(x, layout.logit_scale, "logit_scale");
  const WeightId own = g.matrix("lm_head", dims.vocab_size, dims.dim, true);
  g.output("logits", g.linear(x, own != kNone ? own : embed, "logits",
                              g.vector("lm_head.bias", dims.vocab_size, true)));
  return g.finish();
}

Result<graph::Graph> build_classifier(const Config& config, const WeightLookup& weights,
                                      const EncoderDecoderLayout& layout) {
  QUERN_TRY(encoder_dims, StackDims::read(config, "encoder."));
  QUERN_TRY(dims, StackDims::read(config, ""));
  QUERN_TRY(start, config.integer("decoder_start_token_id"));
  if (start < 0 || start >= dims.vocab_size)
    return Error(ErrorCode::kOutOfRange, "the decoder's first token lies outside the vocabulary")
        .of("decoder_start_token_id")
        .want("0 … " + std::to_string(dims.vocab_size - 1))
        .got(std::to_string(start));
  graph::GraphBuilder g(weights, dims.vocab_size);
  const WeightId embed = g.matrix("embed", dims.vocab_size, dims.dim);
  Stack encoder(g, encoder_dims, layout, "encoder.");
  ValueId states = encoder.embed(embed);
  for (std::int64_t layer = 0; layer < encoder_dims.n_layers; ++layer)
    states = encoder.encoder_layer(layer, states);
  g.set_layer(-1);
  if (layout.norm_first) states = encoder.norm(states, "encoder.norm");
  Stack decoder(g, dims, layout, "");
  ValueId x = decoder.embed(embed, start);
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer)
    x = decoder.taught_layer(layer, x, states);
  g.set_layer(-1);
  if (layout.norm_first) x = decoder.norm(x, "norm");
  EncoderDims head{};
  head.dim = dims.dim;
  head.vocab_size = dims.vocab_size;
  head.norm_eps = dims.norm_eps;
  QUERN_CHECK(encoder_head(g, head, config, embed, x));
  return g.finish();
}

}  // namespace quern::models
