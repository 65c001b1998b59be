/// \file
/// Relative positions as rows of a table.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"
#include "kernels/kernel_table.h"

namespace quern::backends {

/// The bucket of a key `distance` = key − query positions away, 0 … n_buckets − 1 (Raffel et al.
/// 2020, "T5", section 2.1): small distances have buckets of their own, larger ones share
/// logarithmically, those beyond `max_distance` the last. \pre n_buckets ≥ 4, max_distance >
/// n_buckets.
std::int64_t relative_bucket(std::int64_t distance, std::int64_t n_buckets,
                             std::int64_t max_distance, bool bidirectional) noexcept;

/// A relative bias written out by distance for every head: what a kernel reads by absolute position
/// of keys. Immutable.
class DistanceBias {
 public:
  /// For keys up to `back` positions before a query and `ahead` after it. `table` is the bias's,
  /// with a gather_row in `kernels`.
  DistanceBias(const graph::RelativeBias& bias, const quant::TensorView& table,
               const kernels::KernelTable& kernels, std::int64_t back, std::int64_t ahead);

  /// What the query at `position` gains with the key at position 0; positions 0 … position + ahead,
  /// and the rest of that block, may be read. \pre 0 ≤ position ≤ back
  const float* row(std::int64_t head, std::int64_t position) const noexcept {
    return values_.data() + head * stride_ + back_ - position;
  }
  /// All of it, `[n_heads, stride]`: distance d stands at back + d.
  const std::vector<float>& values() const noexcept { return values_; }
  std::int64_t back() const noexcept { return back_; }
  std::int64_t stride() const noexcept { return stride_; }

 private:
  std::int64_t back_, stride_;
  std::vector<float> values_;  ///< `[n_heads, stride]`
};

/// The signed bucket of `distance` = query − key (He et al. 2021, DeBERTa v2's logarithmic
/// buckets); `distance` itself where n_buckets is 0.
std::int64_t log_bucket(std::int64_t distance, std::int64_t n_buckets,
                        std::int64_t max_distance) noexcept;

}  // namespace quern::backends
