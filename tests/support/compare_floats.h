/// \file
/// How far two rows of numbers lie apart.
#pragma once

#include <cmath>
#include <cstring>
#include <span>

namespace quern::testing {

/// The largest difference; infinite where the lengths differ, NaN where any difference is.
inline double max_abs_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = difference <= worst ? worst : difference;  // NaN becomes the worst.
  }
  return worst;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace quern::testing
