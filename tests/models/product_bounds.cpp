#include "product_bounds.h"

#include <algorithm>
#include <cmath>

#include "quant/registry.h"

namespace quern::test {
namespace {

constexpr double kCodes = 127.0;
constexpr double kFloatShare = 1e-5;  // Of the sum of magnitudes: K/32 roundings of float32.
constexpr double kSlope = 1.13;       // The largest of SiLU (1.10) and GELU (1.13).

/// All rows of matrix `part`, as the encoding means them.
std::vector<float> dequantize(const quant::TensorView& view, std::int64_t part = 0) {
  const auto cols = static_cast<std::size_t>(view.cols);
  const std::int64_t panels = (view.rows + 15) / 16;
  const auto bytes = *panel_bytes(*find_encoding(view.encoding), cols);
  std::vector<float> rows(static_cast<std::size_t>(panels) * 16 * cols);
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    quant::find_ops(view.encoding)
        ->dequantize_panel(view.data + static_cast<std::uint64_t>(part * panels + panel) * bytes,
                           view.cols, rows.data() + static_cast<std::size_t>(panel) * 16 * cols);
  }
  return rows;
}

/// Rows in the form in which they are coded: as they are, or padded to blocks of 64 and rotated.
std::vector<float> coded_form(std::span<const float> rows, std::size_t cols, bool rotated,
                              std::size_t& width) {
  width = rotated ? (cols + 63) / 64 * 64 : cols;
  std::vector<float> out(rows.size() / cols * width);
  for (std::size_t row = 0; row < rows.size() / cols; ++row) {
    std::copy_n(rows.data() + row * cols, cols, out.data() + row * width);
    if (rotated) quant::hadamard64(out.data() + row * width, static_cast<std::int64_t>(width));
  }
  return out;
}

/// Half a unit of the codes of each group of `x`, spread over its elements.
std::vector<double> half_units(std::span<const float> x, std::size_t group) {
  std::vector<double> halves(x.size());
  for (std::size_t first = 0; first < x.size(); first += group) {
    const std::size_t last = std::min(first + group, x.size());
    double largest = 0;
    for (std::size_t k = first; k < last; ++k)
      largest = std::max(largest, std::fabs(static_cast<double>(x[k])));
    std::fill(halves.begin() + static_cast<std::ptrdiff_t>(first),
              halves.begin() + static_cast<std::ptrdiff_t>(last), largest / kCodes / 2);
  }
  return halves;
}

/// A product of one row and what it may be off by.
struct Sum {
  double value = 0, bound = 0;
};

/// A matrix as its products with coded rows see it.
class CodedMatrix {
 public:
  explicit CodedMatrix(const quant::TensorView& view, std::int64_t part = 0)
      : rows_(static_cast<std::size_t>(view.rows)),
        cols_(static_cast<std::size_t>(view.cols)),
        rotated_(find_encoding(view.encoding)->rows == RowFormat::kQ8Rotated),
        coded_(find_encoding(view.encoding)->rows != RowFormat::kF32),
        w_(coded_form(dequantize(view, part), cols_, rotated_, width_)) {}

  std::vector<Sum> times(std::span<const float> x) const {
    std::size_t width = 0;
    const std::vector<float> form = coded_form(x, cols_, rotated_, width);
    std::vector<double> halves = half_units(form, rotated_ ? width : 32);
    if (!coded_) std::fill(halves.begin(), halves.end(), 0.0);
    std::vector<Sum> sums(rows_);
    for (std::size_t i = 0; i < rows_; ++i) {
      double magnitude = 0;
      for (std::size_t k = 0; k < width; ++k) {
        const double weight = static_cast<double>(w_[i * width_ + k]);
        const double term = weight * static_cast<double>(form[k]);
        sums[i].value += term;
        magnitude += std::fabs(term);
        sums[i].bound += std::fabs(weight) * halves[k];
      }
      sums[i].bound += kFloatShare * magnitude;
    }
    return sums;
  }

 private:
  std::size_t rows_, cols_, width_ = 0;
  bool rotated_, coded_;
  std::vector<float> w_;
};

double activate(graph::Activation kind, double x) {
  switch (kind) {
    case graph::Activation::kSilu:
      return x / (1 + std::exp(-x));
    case graph::Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case graph::Activation::kGeluErf:
      return 0.5 * x * (1 + std::erf(x * 0.7071067811865476));
    case graph::Activation::kRelu:
      return std::max(x, 0.0);
    default:
      return std::nan("");  // No mixture has another one.
  }
}

/// h = f(g)·u of what two products gave, and what it may be off by.
Sum gated(const graph::ExpertsOp& op, const Sum& gate, const Sum& up) {
  double g = gate.value, u = up.value, f = 0;
  if (op.limit > 0.0F) {
    const auto limit = static_cast<double>(op.limit), alpha = static_cast<double>(op.alpha);
    g = std::min(g, limit);
    u = std::clamp(u, -limit, limit) + 1;
    f = g / (1 + std::exp(-alpha * g));
  } else {
    f = activate(op.activation, g);
  }
  const double bound = kSlope * gate.bound * (std::fabs(u) + up.bound) + std::fabs(f) * up.bound;
  return {f * u, bound + kFloatShare * std::fabs(f * u)};
}

/// A difference as a share of its bound.
double share(double difference, double bound) {
  if (difference == 0.0) return 0.0;
  return std::fabs(difference) / bound;
}

void keep_worst(double& worst, double found) {
  worst = found <= worst ? worst : found;  // NaN becomes the worst.
}

}  // namespace

ProductBounds::ProductBounds(const graph::Graph& graph)
    : graph_(std::make_shared<graph::Graph>(graph)) {
  for (graph::Node& node : graph_->nodes) {
    if (auto* linear = std::get_if<graph::LinearOp>(&node.op)) linear->bias = graph::kNone;
    if (auto* experts = std::get_if<graph::ExpertsOp>(&node.op))
      experts->gate_bias = experts->up_bias = experts->down_bias = graph::kNone;
  }
  for (const graph::Node& node : graph_->nodes) {
    if (const auto* linear = std::get_if<graph::LinearOp>(&node.op)) {
      const graph::Weight& of = weight(linear->weight);
      if (find_encoding(of.view.encoding)->rows == RowFormat::kF32) continue;
      const std::string number = std::to_string(products_.size());
      show("x" + number, linear->x);
      show("y" + number, node.out);
      if (linear->residual != graph::kNone) show("r" + number, linear->residual);
      products_.push_back({of.name, linear, &of.view});
    }
    if (const auto* experts = std::get_if<graph::ExpertsOp>(&node.op)) {
      const std::string number = std::to_string(experts_.size());
      show("ex" + number, experts->x);
      show("route" + number, experts->route);
      show("ey" + number, node.out);
      experts_.push_back({weight(experts->down).name, experts});
    }
  }
}

void ProductBounds::show(const std::string& name, graph::ValueId value) {
  graph_->outputs.push_back({name, value});
}

bool ProductBounds::wants(std::string_view name) const {
  return std::any_of(experts_.begin(), experts_.end(),
                     [&](const Experts& experts) { return experts.name == name; });
}

void ProductBounds::see(const backends::ObservedRows& rows, int thread, int) noexcept {
  if (thread != 0) return;
  hidden_[{std::string(rows.weight), rows.matrix}].assign(rows.rows,
                                                          rows.rows + rows.n * rows.cols);
}

double ProductBounds::worst_of(const backends::Program& program, std::size_t number) const {
  const Product& product = products_[number];
  const std::string n = std::to_string(number);
  const auto x = program.output("x" + n), y = program.output("y" + n);
  const auto residual = program.output("r" + n);
  const auto cols = static_cast<std::size_t>(product.weight->cols);
  const auto rows = static_cast<std::size_t>(product.weight->rows);
  const CodedMatrix matrix(*product.weight);
  double worst = 0;
  for (std::size_t t = 0; t < x.size() / cols; ++t) {
    const std::vector<Sum> sums = matrix.times(x.subspan(t * cols, cols));
    for (std::size_t i = 0; i < rows; ++i) {
      const double added = residual.empty() ? 0.0 : static_cast<double>(residual[t * rows + i]);
      const double found = static_cast<double>(y[t * rows + i]);
      keep_worst(worst, share(found - added - sums[i].value,
                              sums[i].bound + kFloatShare * std::fabs(added)));
    }
  }
  return worst;
}

double ProductBounds::worst_of_experts(const backends::Program& program, std::size_t number) const {
  const graph::ExpertsOp& op = *experts_[number].op;
  const std::string n = std::to_string(number);
  const auto x = program.output("ex" + n), route = program.output("route" + n);
  const auto y = program.output("ey" + n);
  const quant::TensorView &gate = weight(op.gate).view, &up = weight(op.up).view;
  const quant::TensorView& down = weight(op.down).view;
  const auto dim = static_cast<std::size_t>(gate.cols), ffn = static_cast<std::size_t>(gate.rows);
  const std::size_t steps = x.size() / dim, used = route.size() / steps / 2;
  std::vector<double> sums(y.size()), bounds(y.size());
  double worst = 0;
  for (std::int64_t e = 0; e < gate.batch; ++e) {
    const CodedMatrix of_gate(gate, e), of_up(up, e), of_down(down, e);
    std::size_t row = 0;  // Of those that chose the expert, in the step's order.
    for (std::size_t t = 0; t < steps; ++t) {
      for (std::size_t j = 0; j < used; ++j) {
        if (static_cast<std::int64_t>(route[t * 2 * used + j]) != e) continue;
        const auto seen = hidden_.find({experts_[number].name, e});
        if (seen == hidden_.end() || seen->second.size() < (row + 1) * ffn) return NAN;
        const std::span<const float> h = std::span(seen->second).subspan(row++ * ffn, ffn);
        const std::vector<Sum> g = of_gate.times(x.subspan(t * dim, dim));
        const std::vector<Sum> u = of_up.times(x.subspan(t * dim, dim));
        for (std::size_t k = 0; k < ffn; ++k) {
          const Sum want = gated(op, g[k], u[k]);
          keep_worst(worst, share(static_cast<double>(h[k]) - want.value, want.bound));
        }
        const auto factor = static_cast<double>(route[t * 2 * used + used + j]);
        const std::vector<Sum> out = of_down.times(h);
        for (std::size_t i = 0; i < dim; ++i) {
          sums[t * dim + i] += factor * out[i].value;
          bounds[t * dim + i] +=
              std::fabs(factor) * (out[i].bound + kFloatShare * std::fabs(out[i].value));
        }
      }
    }
  }
  for (std::size_t i = 0; i < y.size(); ++i)
    keep_worst(worst, share(static_cast<double>(y[i]) - sums[i], bounds[i]));
  return worst;
}

double ProductBounds::worst(const backends::Program& program, std::string& worst_name) const {
  double all = 0;
  const auto keep = [&](double found, const std::string& name) {
    if (found <= all) return;
    all = found;
    worst_name = name;
  };
  for (std::size_t i = 0; i < products_.size(); ++i) keep(worst_of(program, i), products_[i].name);
  for (std::size_t i = 0; i < experts_.size(); ++i)
    keep(worst_of_experts(program, i), experts_[i].name);
  return all;
}

}  // namespace quern::test
