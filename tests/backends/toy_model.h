/// \file
/// A one-layer decoder with random float weights, built straight on the graph.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "graph/builder.h"
#include "quant/registry.h"

namespace quern::test {

struct ToyShape {
  std::int64_t vocab = 40, dim = 48, n_heads = 6, n_kv_heads = 2, head_dim = 8, ffn = 80,
               window = 0;
  Encoding encoding = Encoding::kF32;
  std::optional<Encoding> gate = {}, up = {};  ///< Of these matrices, where it is another one.
  bool cross = false;                          ///< Attends to a source in the place of itself.
  std::int64_t scan_columns = 0;  ///< Of a scan of own rates in attention's place; 0: none.
  bool scan_apart = false;        ///< Something else reads its steps' product, too.
};

/// Owns its weights; `graph` views them.
class ToyModel {
 public:
  explicit ToyModel(const ToyShape& shape) : shape_(shape) {
    graph::GraphBuilder g([this](std::string_view name, bool) { return weight(name); },
                          shape.vocab);
    const auto embed = matrix(g, "embed", shape.vocab, shape.dim);
    auto x = g.embedding(embed);
    auto h = g.rms_norm(x, graph::kNone, 1e-5F, "norm");
    x = shape.scan_columns > 0 ? scan(g, h, x) : attention(g, h, x);
    const auto wgate = matrix(g, "gate", shape.ffn, shape.dim, shape.gate);
    const auto wup = matrix(g, "up", shape.ffn, shape.dim, shape.up);
    const auto gate = g.linear(x, wgate, "gate"), up = g.linear(x, wup, "up");
    h = g.glu(gate, up, graph::Activation::kSilu, "glu");
    x = g.linear(h, matrix(g, "down", shape.dim, shape.ffn), "down", graph::kNone, x);
    x = g.select_rows(x, "outputs");
    g.output("logits", g.linear(x, embed, "logits"));
    auto built = g.finish();
    if (built.ok()) graph_ = std::make_shared<const graph::Graph>(std::move(built).value());
  }

  std::shared_ptr<const graph::Graph> graph() const { return graph_; }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };

  /// x plus attention among the rows of h.
  graph::ValueId attention(graph::GraphBuilder& g, graph::ValueId h, graph::ValueId x) {
    const std::int64_t q = shape_.n_heads * shape_.head_dim;
    const std::int64_t kv = shape_.n_kv_heads * shape_.head_dim;
    const auto angles = g.rope_angles({{1.0F, 0.3F, 0.1F, 0.03F}}, "angles");
    const auto rope = [&](graph::ValueId v, const char* name) {
      return g.rope(v, angles, shape_.head_dim, false, name);
    };
    const auto wq = rope(g.linear(h, matrix(g, "wq", q, shape_.dim), "q"), "q_rope");
    const auto wk = rope(g.linear(h, matrix(g, "wk", kv, shape_.dim), "k"), "k_rope");
    const auto wv = g.linear(h, matrix(g, "wv", kv, shape_.dim), "v");
    const auto state = g.kv_state(
        {shape_.n_kv_heads, shape_.head_dim, shape_.head_dim, shape_.window, shape_.cross});
    h = shape_.cross ? g.cross_attention({wq, state, shape_.n_heads, 0.35F}, "attention")
                     : g.attention({wq, wk, wv, state, shape_.n_heads, 0.35F}, "attention");
    return g.linear(h, matrix(g, "wo", shape_.dim, q), "o", graph::kNone, x);
  }

  /// x plus a gated scan of the rows of h.
  graph::ValueId scan(graph::GraphBuilder& g, graph::ValueId h, graph::ValueId x) {
    constexpr std::int64_t kNumbers = 10;
    const std::int64_t columns = shape_.scan_columns;
    const auto project = [&](const char* name, std::int64_t rows) {
      return g.linear(h, matrix(g, name, rows, shape_.dim), name);
    };
    const auto z = project("z", columns);
    graph::ScanOp op{project("x", columns),
                     project("dt", columns),
                     project("b", kNumbers),
                     project("c", kNumbers),
                     vector(g, "a", columns * kNumbers, -0.5F),
                     vector(g, "skip", columns, 0.3F)};
    const auto y = g.scan(op, "scan");
    if (shape_.scan_apart) g.activation(op.dt, graph::Activation::kTanh, "of dt");
    const auto gated = g.glu(z, y, graph::Activation::kSilu, "gated");
    return g.linear(gated, matrix(g, "out", shape_.dim, columns), "out", graph::kNone, x);
  }

  graph::WeightId vector(graph::GraphBuilder& g, const char* name, std::int64_t n, float about) {
    auto& storage = storage_.emplace_back(static_cast<std::size_t>(n + 15) / 16);
    auto* data = reinterpret_cast<float*>(storage.data());
    std::uniform_real_distribution<float> share(0.5F, 1.5F);
    for (std::int64_t i = 0; i < n; ++i) data[i] = about * share(random_);
    weights_[name] = {
        Encoding::kF32, Layout::kPlain, 1, 1, n, reinterpret_cast<const std::byte*>(data)};
    return g.vector(name, n);
  }

  graph::WeightId matrix(graph::GraphBuilder& g, const char* name, std::int64_t rows,
                         std::int64_t cols, std::optional<Encoding> other = {}) {
    const Encoding encoding = other.value_or(shape_.encoding);
    const EncodingInfo& info = *find_encoding(encoding);
    const auto panel = *panel_bytes(info, static_cast<std::uint64_t>(cols));
    const auto panels = static_cast<std::uint64_t>((rows + 15) / 16);
    auto& storage = storage_.emplace_back(panel * panels / 64);
    auto* data = reinterpret_cast<std::byte*>(storage.data());
    std::normal_distribution<float> normal(0.0F, 0.15F);
    for (std::uint64_t p = 0; p < panels; ++p) {
      std::vector<float> rows16(static_cast<std::size_t>(16 * cols));
      for (float& value : rows16) value = normal(random_);
      quant::find_ops(encoding)->quantize_panel(rows16.data(), cols, {}, data + p * panel);
    }
    weights_[name] = {encoding, Layout::kPanel16, 1, rows, cols, data};
    return g.matrix(name, rows, cols);
  }

  Result<quant::TensorView> weight(std::string_view name) const {
    const auto found = weights_.find(std::string(name));
    return found == weights_.end() ? quant::TensorView{} : found->second;
  }

  ToyShape shape_;
  std::mt19937 random_{42};
  std::deque<std::vector<Line>> storage_;
  std::map<std::string, quant::TensorView> weights_;
  std::shared_ptr<const graph::Graph> graph_;
};

}  // namespace quern::test
