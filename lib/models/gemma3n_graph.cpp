// Gemma 3n's layers: several streams of which each layer computes with one and predicts and
// corrects the others (Baykal et al. 2023, "Alternating Updates for Efficient Transformers"), a
// low-rank residual beside attention (Menghani et al. 2024, "LAuReL"), and an embedding of the
// token for every layer.
#include <cmath>
#include <type_traits>

#include "models/config_io.h"
#include "models/gemma3n.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr float kMagnitudeFloor = 1e-5F;
constexpr std::int64_t kMaxStreams = 64;

/// What the layers need to know beyond DecoderDims.
struct StreamDims {
  std::int64_t n_streams, active, per_layer_dim, per_layer_vocab, laurel_rank;
  bool correct_scale;
  float logit_softcap;
  std::vector<std::int64_t> kv_layer;
  std::vector<bool> sparse;
  std::vector<float> deviations;  ///< Of sparse layers.

  static Result<StreamDims> read(const Config& config, std::int64_t n_layers);
};

Result<std::int64_t> bounded(const Config& config, std::string_view key, std::int64_t least,
                             std::int64_t most) {
  QUERN_TRY(value, config.integer(key));
  if (value >= least && value <= most) return value;
  return Error(ErrorCode::kOutOfRange, "a dimension of the model is out of range")
      .of(std::string(key))
      .want(std::to_string(least) + " to " + std::to_string(most))
      .got(std::to_string(value));
}

/// A list of one value per layer, each of type T (or, where that is double, a whole number).
template <class T>
Result<std::vector<T>> per_layer(const Config& config, std::string_view key,
                                 std::int64_t n_layers) {
  std::vector<T> values;
  for (const ConfigValue& value : config.list(key)) {
    if (const T* one = std::get_if<T>(&value)) values.push_back(*one);
    if constexpr (std::is_same_v<T, double>) {
      if (const auto* whole = std::get_if<std::int64_t>(&value))
        values.push_back(static_cast<double>(*whole));
    }
  }
  if (values.size() == static_cast<std::size_t>(n_layers)) return values;
  return Error(ErrorCode::kMismatch, "a list of the configuration has not one value per layer")
      .of(std::string(key))
      .want(std::to_string(n_layers))
      .got(std::to_string(values.size()));
}

Result<StreamDims> StreamDims::read(const Config& config, std::int64_t n_layers) {
  constexpr std::int64_t kMaxWidth = 1 << 20, kMaxVocab = std::int64_t{1} << 31;
  StreamDims dims{};
  QUERN_TRY(n_streams, bounded(config, "altup.streams", 1, kMaxStreams));
  QUERN_TRY(active, bounded(config, "altup.active", 0, n_streams - 1));
  QUERN_TRY(per_layer_dim, bounded(config, "per_layer_dim", 1, kMaxWidth));
  QUERN_TRY(per_layer_vocab, bounded(config, "per_layer_vocab", 1, kMaxVocab));
  QUERN_TRY(laurel_rank, bounded(config, "laurel_rank", 1, kMaxWidth));
  QUERN_TRY(correct_scale, config.boolean_or("altup.correct_scale", true));
  QUERN_TRY(logit_softcap, config.number_or("logit_softcap", 0.0));
  QUERN_TRY(kv_layer, per_layer<std::int64_t>(config, "kv_layer", n_layers));
  QUERN_TRY(sparse, per_layer<bool>(config, "sparse_layers", n_layers));
  QUERN_TRY(deviations, per_layer<double>(config, "sparse_deviations", n_layers));
  for (std::int64_t i = 0; i < n_layers; ++i) {
    const std::int64_t from = kv_layer[static_cast<std::size_t>(i)];
    if (from < 0 || from > i || kv_layer[static_cast<std::size_t>(from)] != from)
      return Error(ErrorCode::kOutOfRange, "a layer has no keys to read").of("kv_layer");
  }
  dims.n_streams = n_streams;
  dims.active = active;
  dims.per_layer_dim = per_layer_dim;
  dims.per_layer_vocab = per_layer_vocab;
  dims.laurel_rank = laurel_rank;
  dims.correct_scale = correct_scale;
  dims.logit_softcap = static_cast<float>(logit_softcap);
  dims.kv_layer = std::move(kv_layer);
  dims.sparse = std::move(sparse);
  for (const double value : deviations) dims.deviations.push_back(static_cast<float>(value));
  return dims;
}

/// One model in the making. Used once.
class StreamBuilder {
 public:
  using Value = graph::ValueId;
  using Streams = std::vector<Value>;

  StreamBuilder(graph::GraphBuilder& g, const DecoderDims& dims, const StreamDims& own)
      : g_(g), dims_(dims), own_(own) {}

  /// The embedding, and projections of it that are made as large as it is.
  Streams split(Value x) {
    Streams streams = {x};
    for (std::int64_t i = 1; i < own_.n_streams; ++i) {
      const Value other = g_.linear(x, extra("altup_proj", i), "stream");
      streams.push_back(g_.match_magnitude(other, x, kMagnitudeFloor, "stream"));
    }
    return streams;
  }

  /// The mean of the streams, those beyond the first projected back, for the rows that are asked
  /// for.
  Value join(const Streams& streams) {
    g_.set_layer(-1);
    const Value first = g_.select_rows(streams[0], "outputs");
    Value sum = first;
    for (std::int64_t i = 1; i < own_.n_streams; ++i) {
      Value other = g_.select_rows(streams[static_cast<std::size_t>(i)], "outputs");
      other = g_.linear(other, extra("altup_unembed", i), "unembed");
      other = g_.match_magnitude(other, first, kMagnitudeFloor, "unembed");
      sum = g_.add(sum, other, "sum");
    }
    return g_.scale(sum, 1.0F / static_cast<float>(own_.n_streams), "mean");
  }

  /// Every layer's embedding of the token, side by side: its own table's row and a projection of
  /// the model's embedding.
  Value layer_inputs(Value embedded) {
    const std::int64_t dim = own_.per_layer_dim, all = dims_.n_layers * dim;
    const graph::WeightId table = g_.matrix("per_layer_embed", own_.per_layer_vocab, all);
    const Value looked_up = g_.embedding(table, std::sqrt(static_cast<float>(dim)));
    Value projected = project(g_, embedded, "per_layer_model_proj", all);
    projected = g_.scale(projected, 1.0F / std::sqrt(static_cast<float>(dims_.dim)), "scaled");
    const std::string norm = "per_layer_proj_norm";
    projected = g_.rms_norm_heads(projected, g_.vector(norm, dim), dims_.norm_eps, dim, norm);
    return g_.scale(g_.add(projected, looked_up, "layer_inputs"), std::sqrt(0.5F), "layer_inputs");
  }

  Streams layer(std::int64_t number, const Streams& streams, Value inputs, Value angles) {
    layer_ = number;
    g_.set_layer(static_cast<std::int32_t>(number));
    const auto active = static_cast<std::size_t>(own_.active);
    const Streams predicted = predict(streams);
    const Value computed = compute(predicted[active], angles);
    Streams corrected = correct(predicted, computed);
    const Value input =
        g_.columns(inputs, layer_ * own_.per_layer_dim, own_.per_layer_dim, "layer_input");
    const Value more = layer_input_block(corrected[active], input);
    for (std::size_t i = 1; i < corrected.size(); ++i)
      corrected[i] = g_.add(corrected[i], more, "stream");
    return corrected;
  }

 private:
  std::string name(std::string_view part) const { return layer_name(layer_, part); }
  graph::WeightId extra(std::string_view weight, std::int64_t stream) {
    return g_.matrix_part(weight, stream - 1, own_.n_streams - 1, dims_.dim, dims_.dim);
  }
  Value norm(Value x, std::string_view part) { return norm_block(g_, dims_, layer_, x, part); }
  const float* deviations() const {
    const auto at = static_cast<std::size_t>(layer_);
    return own_.sparse[at] ? &own_.deviations[at] : nullptr;
  }

  /// tanh of a few numbers that weigh the streams.
  Value modalities(Value x) {
    x = g_.scale(norm(x, "altup_router_norm"), 1.0F / static_cast<float>(dims_.dim), "scaled");
    x = project(g_, x, name("altup_router"), own_.n_streams);
    return g_.activation(x, graph::Activation::kTanh, "modalities");
  }

  Streams predict(const Streams& streams) {
    const std::int64_t n = own_.n_streams;
    const Value weights = project(g_, modalities(streams[static_cast<std::size_t>(own_.active)]),
                                  name("altup_predict"), n * n);
    Streams predicted;
    for (std::int64_t i = 0; i < n; ++i) {
      predicted.push_back(
          g_.mix({streams[static_cast<std::size_t>(i)], streams, weights, i * n}, "predicted"));
    }
    return predicted;
  }

  Streams correct(const Streams& predicted, Value computed) {
    const Value weights = project(g_, modalities(computed), name("altup_correct"), own_.n_streams);
    const Value before = g_.scale(predicted[static_cast<std::size_t>(own_.active)], -1.0F, "minus");
    const Value change = g_.add(computed, before, "innovation");
    Streams corrected;
    for (std::size_t i = 0; i < predicted.size(); ++i) {
      corrected.push_back(g_.mix(
          {predicted[i], {change}, weights, static_cast<std::int64_t>(i), 1.0F}, "corrected"));
    }
    return corrected;
  }

  /// Attention with the low-rank residual beside it, then the MLP.
  Value compute(Value x, Value angles) {
    const Value h = norm(x, "attn_norm");
    const Value low = project(g_, h, name("laurel_left"), own_.laurel_rank);
    const Value wide = project(g_, low, name("laurel_right"), dims_.dim);
    const Value laurel = g_.add(h, norm(wide, "laurel_norm"), "laurel");
    AttentionOptions options{.scale = 1.0F, .qk_norm = QkNorm::kHeads, .value_norm = true};
    const std::int64_t from = own_.kv_layer[static_cast<std::size_t>(layer_)];
    // Layers that share stand last, so that layers and states before them have the same numbers.
    if (from != layer_) options.shared_state = static_cast<graph::StateId>(from);
    Value attended = attention_block(g_, dims_, layer_, h, angles, graph::kNone, options);
    attended = g_.add(x, norm(attended, "attn_post_norm"), "attn_residual");
    attended = g_.scale(g_.add(attended, laurel, "with_laurel"), std::sqrt(0.5F), "with_laurel");
    const Value mlp = sparse_mlp(norm(attended, "ffn_norm"));
    return g_.add(attended, norm(mlp, "ffn_post_norm"), "ffn_residual");
  }

  Value sparse_mlp(Value h) {
    if (deviations() == nullptr) return gated_mlp(g_, dims_, layer_, h, graph::kNone);
    Value gate = project(g_, h, name("w_gate"), dims_.ffn_dim);
    const Value up = project(g_, h, name("w_up"), dims_.ffn_dim);
    gate = g_.cutoff(gate, *deviations(), "sparse_gate");
    return project(g_, g_.glu(gate, up, dims_.activation, "glu"), name("w_down"), dims_.dim);
  }

  /// What the layer's embedding of the token adds to the streams.
  Value layer_input_block(Value x, Value input) {
    if (own_.correct_scale)
      x = g_.scale_columns(x, g_.vector(name("altup_correct_scale"), dims_.dim), "first");
    const Value gate = project(g_, x, name("per_layer_gate"), own_.per_layer_dim);
    const Value gated = g_.glu(gate, input, dims_.activation, "layer_input");
    return norm(project(g_, gated, name("per_layer_proj"), dims_.dim), "per_layer_norm");
  }

  graph::GraphBuilder& g_;
  const DecoderDims& dims_;
  const StreamDims& own_;
  std::int64_t layer_ = 0;
};

}  // namespace

Result<graph::Graph> build_gemma3n(const Config& config, const WeightLookup& weights) {
  QUERN_TRY(dims, DecoderDims::read(config));
  QUERN_TRY(own, StreamDims::read(config, dims.n_layers));
  QUERN_TRY(global, rope_angles(config, dims.head_dim));
  QUERN_TRY(local_theta, config.number("rope.local_theta"));
  if (!(local_theta > 0))
    return Error(ErrorCode::kOutOfRange, "rope theta is not positive").of("rope.local_theta");

  graph::GraphBuilder g(weights, dims.vocab_size);
  StreamBuilder builder(g, dims, own);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.dim);
  const graph::ValueId x = g.embedding(embed, std::sqrt(static_cast<float>(dims.dim)));
  const graph::ValueId inputs = builder.layer_inputs(x);
  StreamBuilder::Streams streams = builder.split(x);
  const graph::ValueId global_angles = g.rope_angles(std::move(global), "angles");
  const graph::ValueId local_angles =
      g.rope_angles({plain_frequencies(local_theta, dims.head_dim)}, "local_angles");
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    const bool local = dims.windows[static_cast<std::size_t>(layer)] > 0;
    streams = builder.layer(layer, streams, inputs, local ? local_angles : global_angles);
  }
  decoder_head(g, dims, embed, builder.join(streams),
               {.logit_softcap = own.logit_softcap, .rows_selected = true});
  return g.finish();
}

}  // namespace quern::models
