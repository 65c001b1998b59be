/// \file
/// Holds every product of quantized weights in a graph against the same product of the dequantized
/// weights in double precision. The only rounding between the two is that of the activations to
/// int8, so the difference is bounded: an element that is coded in units of u is off by at most
/// u/2, u being the largest of its group over 127.
/// - Groups of 32: |Δy| ≤ Σ_g u_g/2 · Σ_{k in g} |w_k|.
/// - Rotated rows: the same with one u for the whole row, w and x under the rotation.
/// - An expert's gated unit h = f(g)·u takes the errors of both products: |Δh| ≤
///   L·Δg·(|u| + Δu) + |f(g)|·Δu, L being the largest slope of f; the product after it takes the
///   h that the engine has, and the routed sum its errors times the weights' magnitudes.
/// To each comes the float32 arithmetic of the sum, as a share of Σ |w_k·x_k|. From product to
/// product nothing is bounded in general (softmax, routers).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/linear_observer.h"

namespace quern::test {

/// A graph whose products can be looked into, and what the last step showed of its experts.
class ProductBounds final : public backends::LinearObserver {
 public:
  /// Biases are left out of products, which they are added to: without them those stand alone.
  explicit ProductBounds(const graph::Graph& graph);

  std::shared_ptr<const graph::Graph> graph() const { return graph_; }
  /// Quantized products, those of experts included.
  std::size_t count() const { return products_.size() + experts_.size(); }
  /// The largest difference of the last step as a share of its bound: above 1 the law is broken.
  /// NaN counts as what it is. \param worst_name gets the product's name.
  double worst(const backends::Program& program, std::string& worst_name) const;

  bool wants(std::string_view weight) const override;
  void see(const backends::ObservedRows& rows, int thread, int threads) noexcept override;

 private:
  struct Product {
    std::string name;
    const graph::LinearOp* op;
    const quant::TensorView* weight;
  };
  struct Experts {
    std::string name;  ///< Of the last matrix.
    const graph::ExpertsOp* op;
  };
  const graph::Weight& weight(graph::WeightId id) const {
    return graph_->weights[static_cast<std::size_t>(id)];
  }
  void show(const std::string& name, graph::ValueId value);
  double worst_of(const backends::Program& program, std::size_t number) const;
  double worst_of_experts(const backends::Program& program, std::size_t number) const;

  std::shared_ptr<graph::Graph> graph_;
  std::vector<Product> products_;
  std::vector<Experts> experts_;
  /// Rows that entered an expert's last matrix, by its name and number.
  std::map<std::pair<std::string, std::int64_t>, std::vector<float>> hidden_;
};

}  // namespace quern::test
