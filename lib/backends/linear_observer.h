/// \file
/// Shows what enters the matrix products of a model, to whoever quantizes it.
#pragma once

#include <cstdint>
#include <string_view>

namespace quern::backends {

/// The rows that a matrix is about to be multiplied by.
struct ObservedRows {
  std::string_view weight;  ///< Canonical name of the matrix.
  std::int64_t matrix;      ///< Which expert of the weight; 0 where it is one matrix.
  const float* rows;        ///< `[n, cols]`, row-major, float32: as computed, before packing.
  std::int64_t n, cols;
};

/// Given to CompileOptions; outlives the program. Without one a program is compiled as ever.
class LinearObserver {
 public:
  virtual ~LinearObserver() = default;
  /// Whether the products with this weight are to be shown. Asked once a product, by the thread
  /// that compiles.
  virtual bool wants(std::string_view weight) const = 0;
  /// Called before the product, by every thread of the step with the same rows, so that they can
  /// divide the work: products follow one another in the graph's order on each thread, but threads
  /// do not wait for each other in between.
  virtual void see(const ObservedRows& rows, int thread, int threads) noexcept = 0;
};

}  // namespace quern::backends
