/// \file
/// Quantization that looks at what a matrix is multiplied by: the error of each weight is made up
/// for by the weights after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "convert/float_products.h"
#include "convert/matrix_calibration.h"
#include "convert/second_moments.h"
#include "quern/encoding.h"

namespace quern::convert {

/// For native encodings, and by columns for others. Native ones in their rotated basis (Frantar et
/// al. 2022, "GPTQ", algorithm 1, over groups of 16 with sub-scales; then coordinate descent on the
/// exact squared error of the outputs). Thread rule: immutable after creation; any thread.
class ErrorFeedback final : public MatrixCalibration {
 public:
  /// \param moments full. \return nullptr where nothing can be learned from them (no
  /// rows, not finite).
  static std::shared_ptr<const ErrorFeedback> create(const MomentMatrix& moments);

  OutputSquares quantize_panel(Encoding to, const float* rows16, std::int64_t cols,
                               std::byte* panel) const override;

 private:
  class Panel;
  explicit ErrorFeedback(std::int64_t n) : n_(n), h_(n), share_(n) {}
  void scale_shares();
  OutputSquares quantize_by_columns(Encoding to, const float* rows16, std::int64_t cols,
                                    std::byte* panel) const;
  std::vector<float> times_moments(const std::vector<float>& rows) const;
  std::vector<float> rotated_rows(const float* rows16, std::int64_t cols) const;

  const std::int64_t n_;           ///< Padded columns.
  BlockedMatrix h_;                ///< Symmetric: rotated second moments, damped.
  BlockedMatrix share_;            ///< j > i: what of column i's error goes to column j.
  double mean_ = 0;                ///< Of the moments' diagonal, which is 1 in h_.
  std::vector<float> columns_;     ///< `[columns]`: the diagonal before it was rotated.
  std::vector<float> cost_;        ///< `[n]`: of a squared error in column i that is made up for.
  std::vector<float> block_cost_;  ///< `[n / 64]`: sums of it.
};

}  // namespace quern::convert
