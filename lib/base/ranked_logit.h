/// \file
/// The order in which tokens stand by their logits: what a backend may hand up, and what a sampler
/// draws from.
#pragma once

#include <cstdint>

namespace quern::base {

struct RankedLogit {
  float value = 0;
  std::int32_t id = 0;
};

/// The larger value first, the lower id on a tie. Total, so every ranking by it is unique whatever
/// algorithm computes it. \pre no NaN.
constexpr bool ranks_before(const RankedLogit& a, const RankedLogit& b) noexcept {
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

}  // namespace quern::base
