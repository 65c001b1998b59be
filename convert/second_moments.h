/// \file
/// Second moments of what enters a model's matrix products, summed while the model runs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/linear_observer.h"
#include "convert/float_products.h"
#include "convert/mapped_floats.h"
#include "graph/graph.h"

namespace quern::convert {

/// An input that some matrices share: all of them are multiplied by the same rows.
struct SharedInput {
  std::vector<std::string> weights;  ///< Canonical names; the first one is observed.
  std::int64_t matrices = 1;         ///< Experts, each with rows of its own.
  std::int64_t cols = 0;
  std::size_t last_node = 0;  ///< Of the graph: where the last product with it stands.
};

/// All inputs of linear products and experts, in the graph's order.
std::vector<SharedInput> find_inputs(const graph::Graph& graph);

/// Σ x·xᵀ of one input, or of one expert's, float32.
struct MomentMatrix {
  std::int64_t cols = 0;
  bool full = true;
  std::int64_t rows = 0;  ///< How many x were seen.
  MappedFloats values;    ///< `[cols, cols]`: on and below the diagonal; or `[cols]`, that alone.

  std::int64_t stride() const noexcept { return full ? cols : 1; }
};

/// Sums what it sees of chosen inputs, by the engine's own kernels. The sums do not depend on the
/// number of threads: a matrix is cut into the same blocks for any, and each block is summed in the
/// order of rows. Thread rule: as LinearObserver.
class SecondMoments final : public backends::LinearObserver {
 public:
  /// \param threads of the executor that runs the model.
  explicit SecondMoments(int threads) : threads_(threads) {}
  /// \param full whether products of different columns are wanted too.
  void add_input(const SharedInput& input, bool full);
  /// \return nullptr where the weight is no first one of an added input.
  std::shared_ptr<MomentMatrix> find(std::string_view first_weight, std::int64_t matrix) const;

  static std::uint64_t bytes(const SharedInput& input, bool full);

  bool wants(std::string_view weight) const override;
  void see(const backends::ObservedRows& rows, int thread, int threads) noexcept override;

 private:
  const int threads_;
  std::int64_t most_cols_ = 0;
  std::vector<ColumnProducts> products_;  ///< One per thread.
  std::map<std::string, std::vector<std::shared_ptr<MomentMatrix>>, std::less<>> sums_;
};

}  // namespace quern::convert
