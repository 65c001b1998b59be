/// \file
/// Adapters made part of the weights: what they change of every tensor.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "quern/adapter.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// A low-rank pair that is added to a matrix, or one for each of several (experts), one behind the
/// other.
struct BakedPair {
  std::vector<float> a;  ///< `[rank, cols]`
  std::vector<float> b;  ///< `[rows, rank]`
  std::size_t rank = 0;
  std::size_t rows = 0;  ///< Of one matrix.
};

/// What becomes of one tensor, in the canonical order of its rows:
/// row_factor ∘ W ∘ column_factor + Σ b·a. A vector `[n]` has n rows of one column.
struct BakedTensor {
  std::vector<float> values;                     ///< Take the tensor's place; empty: its own.
  std::vector<float> row_factor, column_factor;  ///< Empty: 1.
  std::vector<BakedPair> pairs;

  bool changes() const noexcept {
    return !values.empty() || !row_factor.empty() || !column_factor.empty() || !pairs.empty();
  }
  /// Changes row `row` of the tensor, which `weights` holds.
  void apply(std::int64_t row, std::span<float> weights) const;
};

using BakedTensors = std::map<std::string, BakedTensor>;  ///< By canonical name.

/// What `adapters` do to the weights of `base`. Where they part the output matrix from an embedding
/// that was both, "lm_head" is among them: begun as a copy of the embedding. Errors: those of
/// with_adapters.
Result<BakedTensors> bake_adapters(const Model& base, std::span<const AdapterUse> adapters);

}  // namespace quern::convert
