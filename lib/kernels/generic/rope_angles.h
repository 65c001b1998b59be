/// \file
/// The angles of rotary embeddings: a loop that compilers turn into vectors of double.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/sin_cos.h"

namespace quern::kernels {
namespace {

inline void rope_angles(std::int64_t pos, const float* inv_freq, std::int64_t n, float factor,
                        float* cos, float* sin) {
  constexpr std::int64_t kBatch = 32;  // A number that the compiler knows, or it leaves scalars.
  for (std::int64_t first = 0; first < n; first += kBatch) {
    const std::int64_t count = std::min(kBatch, n - first);
    float frequency[kBatch] = {}, c[kBatch], s[kBatch];
    std::copy_n(inv_freq + first, count, frequency);
    for (std::int64_t i = 0; i < kBatch; ++i) {
      const float angle = static_cast<float>(pos) * frequency[i];
      const base::SinCos both = base::sin_cos_of(static_cast<double>(angle));
      c[i] = static_cast<float>(both.cos) * factor;
      s[i] = static_cast<float>(both.sin) * factor;
    }
    std::copy_n(c, count, cos + first);
    std::copy_n(s, count, sin + first);
  }
}

}  // namespace
}  // namespace quern::kernels
