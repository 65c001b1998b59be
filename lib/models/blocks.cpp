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

std::vector<bool> windowed_layers(const DecoderDims& dims) {
  std::vector<bool> layers;
  for (const std::int64_t window : dims.windows) layers.push_back(window > 0);
  return layers;
}

std::string layer_name(std::int64_t layer, std::string_view name) {
  return "layers." + std::to_string(layer) + "." + std::string(name);
}

graph::ValueId norm_of(graph::GraphBuilder& g, NormKind kind, float eps, graph::ValueId x,
                       const std::string& name) {
  const std::int64_t n = g.cols(x);
  const graph::WeightId weight = g.vector(name, n, true);  // Its absence is the loader's to judge.
  if (kind == NormKind::kRms) return g.rms_norm(x, weight, eps, name);
  return g.layer_norm(x, weight, g.vector(name + ".bias", n, true), eps, name);
}

graph::ValueId norm_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                          graph::ValueId x, std::string_view name, NormKind kind) {
  return norm_of(g, kind, dims.norm_eps, x, layer_name(layer, name));
}

namespace {

/// The norm of every head of queries or keys, or of all of them together.
graph::ValueId qk_norm(graph::GraphBuilder& g, const DecoderDims& dims, graph::ValueId x,
                       const std::string& name, const AttentionOptions& options) {
  if (options.qk_norm == QkNorm::kRow)
    return norm_of(g, options.qk_norm_kind, dims.norm_eps, x, name);
  const std::int64_t n = options.qk_norm_per_head ? g.cols(x) : dims.head_dim;
  const graph::WeightId weight = g.vector(name, n);
  if (options.qk_norm_kind == NormKind::kRms)
    return g.rms_norm_heads(x, weight, dims.norm_eps, dims.head_dim, name);
  return g.layer_norm_heads(x, weight, g.vector(name + ".bias", n, true), dims.norm_eps,
                            dims.head_dim, name);
}

/// Queries or keys from their product to attention: norm, clamp and rotation, in the family's
/// order.
graph::ValueId turned(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                      graph::ValueId x, graph::ValueId angles, bool is_query,
                      const AttentionOptions& options) {
  const std::string label = is_query ? "q" : "k";
  const std::string norm = layer_name(layer, label + "_norm");
  const bool norm_last = options.qk_norm == QkNorm::kHeadsAfterRope;
  if (options.qk_norm != QkNorm::kNone && !norm_last) x = qk_norm(g, dims, x, norm, options);
  if (options.clip > 0.0F) x = g.clamp(x, options.clip, label + "_clip");
  if (angles != graph::kNone)
    x = g.rope(x, angles, dims.head_dim, options.interleaved, label + "_rope");
  if (norm_last) x = qk_norm(g, dims, x, norm, options);
  if (options.rounded_slopes.empty()) return x;
  return g.position_column(x, dims.head_dim,
                           is_query ? std::vector<float>() : options.rounded_slopes,
                           label + "_column");
}

}  // namespace

graph::ValueId project(graph::GraphBuilder& g, graph::ValueId h, const std::string& name,
                       std::int64_t rows, graph::ValueId residual) {
  const graph::WeightId bias = g.vector(name + ".bias", rows, true);
  const std::string part = name.substr(name.rfind('.') + 1);  // The graph knows the layer.
  return g.linear(h, g.matrix(name, rows, g.cols(h)), part, bias, residual);
}

graph::ValueId attention_block(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                               graph::ValueId h, graph::ValueId angles, graph::ValueId residual,
                               const AttentionOptions& options) {
  const auto name = [&](std::string_view part) { return layer_name(layer, part); };
  const std::int64_t kv_cols = dims.n_kv_heads * dims.head_dim;
  const bool own = options.shared_state == graph::kNone;
  // All products before what is done to each: they share the packed rows.
  graph::ValueId q = project(g, h, name("wq"), dims.n_heads * dims.head_dim);
  graph::ValueId k = own ? project(g, h, name("wk"), kv_cols) : graph::kNone;
  graph::ValueId v = own ? project(g, h, name("wv"), kv_cols) : graph::kNone;
  q = turned(g, dims, layer, q, angles, true, options);
  graph::StateId state = options.shared_state;
  if (own) {
    k = turned(g, dims, layer, k, angles, false, options);
    if (options.clip > 0.0F) v = g.clamp(v, options.clip, "v_clip");
    if (options.value_norm)
      v = g.rms_norm_heads(v, graph::kNone, dims.norm_eps, dims.head_dim, "v_norm");
    const std::int64_t key_dim = dims.head_dim + (options.rounded_slopes.empty() ? 0 : 1);
    state = g.kv_state(
        {dims.n_kv_heads, key_dim, dims.head_dim, dims.windows[static_cast<std::size_t>(layer)]});
  }
  const float scale =
      options.scale != 0.0F ? options.scale : 1.0F / std::sqrt(static_cast<float>(dims.head_dim));
  graph::AttentionOp op{q, k, v, state, dims.n_heads, scale, options.softcap, options.alibi_slopes};
  if (options.sinks) op.sinks = g.vector(name("sinks"), dims.n_heads);
  const graph::ValueId heads = g.attention(op, "attention");
  return project(g, heads, name("wo"), dims.dim, residual);
}

graph::ValueId gated_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                         graph::ValueId h, graph::ValueId residual) {
  const graph::ValueId gate = project(g, h, layer_name(layer, "w_gate"), dims.ffn_dim);
  const graph::ValueId up = project(g, h, layer_name(layer, "w_up"), dims.ffn_dim);
  const graph::ValueId product = g.glu(gate, up, dims.activation, "glu");
  return project(g, product, layer_name(layer, "w_down"), dims.dim, residual);
}

graph::ValueId plain_mlp(graph::GraphBuilder& g, const DecoderDims& dims, std::int64_t layer,
                         graph::ValueId h, graph::ValueId residual) {
  const graph::ValueId up = project(g, h, layer_name(layer, "w_up"), dims.ffn_dim);
  const graph::ValueId bent = g.activation(up, dims.activation, "activation");
  return project(g, bent, layer_name(layer, "w_down"), dims.dim, residual);
}

void decoder_head(graph::GraphBuilder& g, const DecoderDims& dims, graph::WeightId embed,
                  graph::ValueId x, const DecoderLayout& layout) {
  g.set_layer(-1);
  if (!layout.rows_selected) x = g.select_rows(x, "outputs");
  if (layout.final_norm) x = norm_of(g, layout.norm, dims.norm_eps, x, "norm");
  if (layout.embed_dim > 0) x = project(g, x, "project_out", layout.embed_dim);
  const graph::WeightId own = g.matrix("lm_head", dims.vocab_size, g.cols(x), true);
  x = g.linear(x, own != graph::kNone ? own : embed, "logits",
               g.vector("lm_head.bias", dims.vocab_size, true));
  if (layout.logit_scale != 1.0F) x = g.scale(x, layout.logit_scale, "logit_scale");
  if (layout.logit_softcap > 0.0F) x = g.softcap(x, layout.logit_softcap, "softcap");
  g.output("logits", x);
}

}  // namespace quern::models
