/// \file
/// The norm of a row of logits.
#pragma once

#include <algorithm>
#include <span>

#include "base/scalar_math.h"

namespace quern::runtime {

/// log Σ e^x of a row; logits of −∞ weigh nothing. \param exp base::exp where every machine must
/// give the same bits, the C library's where many rows count more. \pre the row is not empty.
template <class Exp>
double log_sum_exp(std::span<const float> row, Exp exp) {
  const auto top = static_cast<double>(*std::max_element(row.begin(), row.end()));
  double sum = 0;
  for (const float value : row) sum += exp(static_cast<double>(value) - top);
  return top + base::log(sum);
}

}  // namespace quern::runtime
