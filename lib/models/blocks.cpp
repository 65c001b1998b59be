#include "models/blocks.h"

#include <cmath>

#include "models/config_io.h"
#include "models/rope_config.h"

namespace quern::models {
namespace {

constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxHeads = 65536;
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
constexpr std::int64_t kMaxVocab = std::int64_t{1} << 31;

Result<std::int64_t> bounded(const Config& config, std::string_view key, std::int64_t max) {
  QUERN_TRY(value, config.integer(key));
  if (value < 1 || value > max) {
    return Error(ErrorCode::kOutOfRange, "a dimension of the model is out of range")
        .of(std::string(key))
        .want("1 to " + std::to_string(max))
        .got(std::to_string(value));
  }
  return value;
}

Result<std::vector<std::int64_t>> read_windows(const Config& config, std::int64_t n_layers) {
  QUERN_TRY(all, config.integer_or("window", 0));
  std::vector<std::int64_t> windows(static_cast<std::size_t>(n_layers), all);
  const ConfigList list = config.list("layer_windows");
  if (!list.empty() && list.size() != windows.size()) {
    return Error(ErrorCode::kMismatch, "the number of layer windows is not that of layers")
        .of("layer_windows")
        .want(std::to_string(n_layers))
        .got(std::to_string(list.size()));
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto* window = std::get_if<std::int64_t>(&list[i]);
    windows[i] = window != nullptr ? *window : -1;
  }
  for (const std::int64_t window : windows) {
    if (window < 0)
      return Error(ErrorCode::kOutOfRange, "a window is negative or no integer")
          .of("layer_windows");
  }
  return windows;
}

}  // namespace

Result<DecoderDims> DecoderDims::read(const Config& config) {
  DecoderDims dims{};
  QUERN_TRY(vocab_size, bounded(config, "vocab_size", kMaxVocab));
  QUERN_TRY(dim, bounded(config, "dim", kMaxWidth));
  QUERN_TRY(n_layers, bounded(config, "n_layers", kMaxLayers));
  QUERN_TRY(n_heads, bounded(config, "n_heads", kMaxHeads));
  QUERN_TRY(n_kv_heads, bounded(config, "n_kv_heads", kMaxHeads));
  QUERN_TRY(head_dim, bounded(config, "head_dim", kMaxHeads));
  QUERN_TRY(ffn_dim, bounded(config, "ffn_dim", kMaxWidth));
  QUERN_TRY(max_seq_len, bounded(config, "max_seq_len", kMaxVocab));
  QUERN_TRY(norm_eps, config.number("norm_eps"));
  QUERN_TRY(activation_name, config.string("activation"));
  QUERN_TRY(activation, parse_activation(activation_name));
  QUERN_TRY(windows, read_windows(config, n_layers));
  if (n_heads % n_kv_heads != 0) {
    return Error(ErrorCode::kOutOfRange, "the number of heads is no multiple of that of KV heads")
        .of("n_kv_heads")
        .got(std::to_string(n_heads) + " / " + std::to_string(n_kv_heads));
  }
  if (!(norm_eps >= 0.0 && norm_eps < 1.0)) {
    return Error(ErrorCode::kOutOfRange, "the epsilon of the norms is out of range").of("norm_eps");
  }
  return DecoderDims{vocab_size,
                     dim,
                     n_layers,
                     n_heads,
                     n_kv_heads,
                     head_dim,
                     ffn_dim,
                     max_seq_len,
                     static_cast<float>(norm_eps),
                     activation,
                     std::move(windows)};
}

std::string layer_name(std::int64_t layer, std::string_view name) {
  return "layers." + std::to_string(layer) + "." + std::string(name);
}

graph::ValueId norm_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                          graph::ValueId x, std::string_view name) {
  return g.rms_norm(x, g.vector(layer_name(layer, name), dims.dim), dims.norm_eps, name);
}

graph::ValueId attention_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                               graph::ValueId h, graph::ValueId angles, graph::ValueId residual,
                               const AttentionOptions& options) {
  const std::int64_t q_dim = dims.n_heads * dims.head_dim;
  const std::int64_t kv_dim = dims.n_kv_heads * dims.head_dim;
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const auto project = [&](std::string_view part, std::int64_t rows) {
    const graph::WeightId bias = g.vector(name(part) + ".bias", rows, true);
    return g.linear(h, g.matrix(name(part), rows, dims.dim), part, bias);
  };
  graph::ValueId q = project("wq", q_dim);
  graph::ValueId k = project("wk", kv_dim);
  const graph::ValueId v = project("wv", kv_dim);
  if (options.qk_norm) {
    q = g.rms_norm_heads(q, g.vector(name("q_norm"), dims.head_dim), dims.norm_eps, dims.head_dim,
                         "q_norm");
    k = g.rms_norm_heads(k, g.vector(name("k_norm"), dims.head_dim), dims.norm_eps, dims.head_dim,
                         "k_norm");
  }
  if (angles != graph::kNone) {
    q = g.rope(q, angles, dims.head_dim, false, "q_rope");
    k = g.rope(k, angles, dims.head_dim, false, "k_rope");
  }
  const graph::StateId state = g.kv_state({dims.n_kv_heads, dims.head_dim, dims.head_dim,
                                           dims.windows[static_cast<std::size_t>(layer)]});
  const float scale =
      options.scale != 0.0F ? options.scale : 1.0F / std::sqrt(static_cast<float>(dims.head_dim));
  const graph::ValueId heads =
      g.attention({q, k, v, state, dims.n_heads, scale, options.softcap}, "attention");
  return g.linear(heads, g.matrix(name("wo"), dims.dim, q_dim), "wo",
                  g.vector(name("wo.bias"), dims.dim, true), residual);
}

graph::ValueId gated_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                         graph::ValueId h, graph::ValueId residual) {
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const auto project = [&](std::string_view part) {
    const graph::WeightId bias = g.vector(name(part) + ".bias", dims.ffn_dim, true);
    return g.linear(h, g.matrix(name(part), dims.ffn_dim, dims.dim), part, bias);
  };
  const graph::ValueId gate = project("w_gate");
  const graph::ValueId up = project("w_up");
  const graph::ValueId product = g.glu(gate, up, dims.activation, "glu");
  return g.linear(product, g.matrix(name("w_down"), dims.dim, dims.ffn_dim), "w_down",
                  g.vector(name("w_down.bias"), dims.dim, true), residual);
}

void decoder_head(graph::GraphBuilder& g, const DecoderDims& dims, graph::WeightId embed,
                  graph::ValueId x, float softcap) {
  g.set_layer(-1);
  x = g.select_rows(x, "outputs");
  x = g.rms_norm(x, g.vector("norm", dims.dim), dims.norm_eps, "norm");
  const graph::WeightId own = g.matrix("lm_head", dims.vocab_size, dims.dim, true);
  x = g.linear(x, own != graph::kNone ? own : embed, "logits");
  if (softcap > 0.0F) x = g.softcap(x, softcap, "softcap");
  g.output("logits", x);
}

Result<graph::Graph> build_decoder(const Config& config, const WeightLookup& weights,
                                   const AttentionOptions& attention) {
  QUERN_TRY(dims, DecoderDims::read(config));
  QUERN_TRY(frequencies, rope_frequencies(config, dims.head_dim));
  graph::GraphBuilder g(weights, dims.vocab_size);
  const graph::WeightId embed = g.matrix("embed", dims.vocab_size, dims.dim);
  graph::ValueId x = g.embedding(embed);
  const graph::ValueId angles = g.rope_angles(std::move(frequencies), 1.0F, "angles");
  for (std::int64_t layer = 0; layer < dims.n_layers; ++layer) {
    g.set_layer(static_cast<std::int32_t>(layer));
    graph::ValueId h = norm_block(g, dims, layer, x, "attn_norm");
    x = attention_block(g, dims, layer, h, angles, x, attention);
    h = norm_block(g, dims, layer, x, "ffn_norm");
    x = gated_mlp(g, dims, layer, h, x);
  }
  decoder_head(g, dims, embed, x);
  return g.finish();
}

}  // namespace quern::models
