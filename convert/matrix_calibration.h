/// \file
/// What was observed of the inputs of one matrix, as its quantizer uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quern/encoding.h"

namespace quern::convert {

/// Σ|row·x|² over the rows of a panel and the observed x, and the same of what quantizing changed
/// in the rows; but for a factor that is the calibration's own.
struct OutputSquares {
  double square = 0, error = 0;
};

/// Thread rule: immutable; any thread.
class MatrixCalibration {
 public:
  virtual ~MatrixCalibration() = default;
  /// As EncodingOps::quantize_panel, with the least error of the outputs. \pre finite rows.
  virtual OutputSquares quantize_panel(Encoding to, const float* rows16, std::int64_t cols,
                                       std::byte* panel) const = 0;
};

/// Of encodings whose groups are fitted alone: every column's error counts as its input's square.
class ColumnWeights final : public MatrixCalibration {
 public:
  explicit ColumnWeights(std::vector<float> weights) : weights_(std::move(weights)) {}
  OutputSquares quantize_panel(Encoding to, const float* rows16, std::int64_t cols,
                               std::byte* panel) const override;

 private:
  std::vector<float> weights_;  ///< `[cols]`
};

}  // namespace quern::convert
