/// \file
/// The lengths of a matrix's rows with a low-rank update, which DoRA divides by.
#pragma once

#include <span>
#include <vector>

#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// ‖W + B·A‖ of every row, W `[rows, cols]` being `matrix` of `base` as its codes say it; a
/// `[rank, cols]`, b `[rows, rank]`, row-major. On the base's threads. Errors: kMismatch where the
/// base has no such matrix of these shapes.
Result<std::vector<float>> row_norms(const Model& base, const std::string& matrix,
                                     std::span<const float> a, std::span<const float> b,
                                     std::int64_t rank);

/// Row `row` of `matrix` in floats. Errors: kMismatch where the model has no such row.
Result<std::vector<float>> dequantized_row(const Model& base, const std::string& matrix,
                                           std::int64_t row);

}  // namespace quern::convert
