/// \file
/// Which source row becomes which row of the output: the row part of `models::Transform`.
#pragma once

#include <cstdint>

#include "models/architecture.h"
#include "quern/result.h"

namespace quern::convert {

/// A permutation of rows inside every head, or none. Value type.
/// GGUF's Llama files store the rows of a head as neighbour pairs: their row 2i+j of a head is our
/// row j·(head_dim/2)+i.
class RowMap {
 public:
  RowMap() = default;
  /// From the stored order to ours.
  static RowMap pairs_to_halves(std::int64_t head_dim) { return RowMap(head_dim, true); }
  /// From our order to the stored one.
  static RowMap halves_to_pairs(std::int64_t head_dim) { return RowMap(head_dim, false); }

  bool identity() const noexcept { return head_dim_ == 0; }
  /// \return the input row that becomes row `row` of the result.
  std::int64_t source(std::int64_t row) const noexcept {
    if (identity()) return row;
    const std::int64_t head = row / head_dim_ * head_dim_, at = row % head_dim_;
    const std::int64_t half = head_dim_ / 2;
    return head + (to_halves_ ? 2 * (at % half) + at / half : at % 2 * half + at / 2);
  }

 private:
  RowMap(std::int64_t head_dim, bool to_halves) : head_dim_(head_dim), to_halves_(to_halves) {}
  std::int64_t head_dim_ = 0;  ///< 0: nothing moves.
  bool to_halves_ = true;
};

/// Everything that happens to one matrix between source and output, apart from its encoding.
struct TensorChange {
  RowMap first, second;        ///< Source → canonical, canonical → output.
  models::RowRuns slice;       ///< Which rows of a fused source tensor.
  float add = 0.0F;            ///< To every element.
  bool negate_exp = false;     ///< x → −e^x, after `add`.
  std::int64_t own_rows = 0;   ///< Not 0: the output's rows from here on are row 0 again.
  std::int64_t first_row = 0;  ///< Of ours, where the output is a part of our rows.
  bool transpose = false;      ///< The source holds `[cols, rows]`, its rows being columns there.

  std::int64_t source_row(std::int64_t row) const noexcept {
    return slice.source(first.source(our_row(row)));
  }
  /// The row of ours that becomes row `row` of the output.
  std::int64_t our_row(std::int64_t row) const noexcept {
    return second.source(first_row + (own_rows > 0 && row >= own_rows ? 0 : row));
  }
  bool moves_rows() const noexcept;
  bool changes_values() const noexcept { return add != 0.0F || negate_exp; }
};

/// Composes the transform that the source needs with the inverse of the one that the output has.
/// Errors: kUnsupported (an output that would be transposed), kMismatch (rows that are no whole
/// number of heads), kMissing (`head_dim`).
Result<TensorChange> make_change(models::Transform source, models::Transform output,
                                 std::int64_t rows, const Config& config);

/// In words, for the plan; empty where nothing is done.
std::string describe_change(const TensorChange& change);

}  // namespace quern::convert
