// Every product of quantized weights in every golden decoder against the same product of the
// dequantized weights in double precision. The only rounding between the two is that of the
// activations to int8, so the difference is bounded: an element that is coded in units of u is off
// by at most u/2, u being the largest of its group over 127.
// - Groups of 32: |Δy| ≤ Σ_g u_g/2 · Σ_{k in g} |w_k|.
// - Rotated rows: the same with one u for the whole row, w and x under the rotation.
// To both comes the float32 arithmetic of the sum, as a share of Σ |w_k·x_k|. From product to
// product nothing is bounded in general (softmax, routers): that the whole agrees with the
// dequantized weights to so much in every step is what can be said.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "golden_model.h"
#include "quant/registry.h"
#include "quern/executor.h"

using namespace quern;
using namespace quern::test;

namespace {

constexpr double kCodes = 127.0;
constexpr double kFloatShare = 1e-5;  // Of the sum of magnitudes: K/32 roundings of float32.
/// Bounds that no product comes near would show nothing.
constexpr double kNear = 0.05;

template <class T>
T must(Result<T> result) {
  if (!result.ok()) FAIL(result.error().describe());
  return std::move(result).value();
}

/// A product of the graph, with its operands as outputs of their own.
struct Product {
  std::string name;
  const graph::LinearOp* op;
  const quant::TensorView* weight;
};

/// The graph with all that its quantized products read and write as outputs, numbered like the
/// result.
std::vector<Product> show_products(graph::Graph& graph) {
  std::vector<Product> products;
  for (const graph::Node& node : graph.nodes) {
    const auto* linear = std::get_if<graph::LinearOp>(&node.op);
    if (linear == nullptr) continue;
    const graph::Weight& weight = graph.weights[static_cast<std::size_t>(linear->weight)];
    if (find_encoding(weight.view.encoding)->rows == RowFormat::kF32) continue;
    const std::string number = std::to_string(products.size());
    graph.outputs.push_back({"x" + number, linear->x});
    graph.outputs.push_back({"y" + number, node.out});
    if (linear->residual != graph::kNone) graph.outputs.push_back({"r" + number, linear->residual});
    products.push_back({weight.name, linear, &weight.view});
  }
  return products;
}

/// All rows of a matrix, as its encoding means them.
std::vector<float> dequantize(const quant::TensorView& view) {
  const auto cols = static_cast<std::size_t>(view.cols);
  const std::int64_t panels = (view.rows + 15) / 16;
  const auto bytes = *panel_bytes(*find_encoding(view.encoding), cols);
  std::vector<float> rows(static_cast<std::size_t>(panels) * 16 * cols);
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    quant::find_ops(view.encoding)
        ->dequantize_panel(view.data + static_cast<std::uint64_t>(panel) * bytes, view.cols,
                           rows.data() + static_cast<std::size_t>(panel) * 16 * cols);
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

struct Sums {
  double product = 0, magnitude = 0, bound = 0;
};

Sums sums_of(const float* w, const float* x, const std::vector<double>& halves) {
  Sums sums;
  for (std::size_t k = 0; k < halves.size(); ++k) {
    const double weight = static_cast<double>(w[k]), term = weight * static_cast<double>(x[k]);
    sums.product += term;
    sums.magnitude += std::fabs(term);
    sums.bound += std::fabs(weight) * halves[k];
  }
  return sums;
}

/// The largest difference of a product's results as a share of its bound.
double worst_share(const backends::Program& program, const Product& product, std::size_t number) {
  const std::string n = std::to_string(number);
  const auto x = program.output("x" + n), y = program.output("y" + n);
  const auto residual = program.output("r" + n);
  const auto cols = static_cast<std::size_t>(product.weight->cols);
  const auto rows = static_cast<std::size_t>(product.weight->rows);
  const bool rotated = find_encoding(product.weight->encoding)->rows == RowFormat::kQ8Rotated;
  std::size_t width = 0;
  const std::vector<float> w = coded_form(dequantize(*product.weight), cols, rotated, width);
  const std::vector<float> coded = coded_form(x, cols, rotated, width);
  double worst = 0;
  for (std::size_t t = 0; t < x.size() / cols; ++t) {
    const float* at = coded.data() + t * width;
    const std::vector<double> halves = half_units({at, width}, rotated ? width : 32);
    for (std::size_t i = 0; i < rows; ++i) {
      const Sums sums = sums_of(w.data() + i * width, at, halves);
      const double added = residual.empty() ? 0.0 : static_cast<double>(residual[t * rows + i]);
      const double found = static_cast<double>(y[t * rows + i]);
      const double slack = kFloatShare * (sums.magnitude + std::fabs(added));
      const double share = std::fabs(found - added - sums.product) / (sums.bound + slack);
      worst = share <= worst ? worst : share;  // NaN becomes the worst.
    }
  }
  return worst;
}

/// The largest share of all products of a model.
double worst_of_model(const GoldenModel& model, const std::vector<std::int32_t>& ids) {
  auto shown = std::make_shared<graph::Graph>(*model.graph());
  // Biases are added after the product: without them it stands alone.
  for (graph::Node& node : shown->nodes) {
    if (auto* linear = std::get_if<graph::LinearOp>(&node.op)) linear->bias = graph::kNone;
  }
  const std::vector<Product> products = show_products(*shown);
  REQUIRE(!products.empty());
  backends::CompileOptions options;
  options.max_rows = options.max_outputs = static_cast<std::int64_t>(ids.size());
  options.max_positions = options.max_rows;
  options.executor = must(make_executor(2));
  const auto program = must(must(backends::find_backend("cpu"))->compile(shown, options));
  const auto sequence = must(program->new_sequence({options.max_positions}));
  std::vector<std::int64_t> positions;
  std::vector<std::int32_t> rows;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    positions.push_back(static_cast<std::int64_t>(i));
    rows.push_back(static_cast<std::int32_t>(i));
  }
  const std::vector<backends::SequenceState*> sequences(ids.size(), sequence.get());
  const Status ran = program->run({ids, positions, sequences, rows});
  REQUIRE(ran.ok());
  double worst = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    CAPTURE(products[i].name);
    const double share = worst_share(*program, products[i], i);
    CHECK(share <= 1.0);
    worst = std::max(worst, share);
  }
  return worst;
}

}  // namespace

TEST_CASE("quantized products differ from dequantized ones by the rounding of activations alone") {
  const std::vector<std::string> names = goldens({"decoder"});
  if (names.empty() && std::getenv("CI") != nullptr) FAIL("no goldens");
  for (const std::string& name : names) {
    CAPTURE(name);
    const std::string directory = std::string(QUERN_GOLDENS_DIR) + "/models/" + name;
    const auto golden = must(formats::SafetensorsFile::open(directory + "/golden.safetensors"));
    for (const Encoding encoding :
         {Encoding::kQ8_0, Encoding::kQ4_0, Encoding::kQR8, Encoding::kQR4}) {
      CAPTURE(find_encoding(encoding)->name);
      const GoldenModel model = must(GoldenModel::load(directory, "config.json", encoding));
      CHECK(worst_of_model(model, golden_ids(golden, "short_input_ids")) >= kNear);
    }
  }
}
