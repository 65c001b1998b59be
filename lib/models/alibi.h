/// \file
/// The slopes of ALiBi (Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases").
#pragma once

#include <cstdint>
#include <vector>

#include "quern/result.h"

namespace quern::models {

/// Where a head count that is no power of two takes its slopes from: the sequence of the next lower
/// power and the odd numbers of that of the next higher.
enum class AlibiOrder : std::uint8_t {
  kPowersFirst,  ///< All of the lower one's, then number 0, 2, 4, … of the higher (BLOOM, Falcon).
  kOddsFirst,    ///< Number 1, 3, 5, … of the higher, then 0, 2, 4, … (MPT).
};

/// kOutOfRange for fewer than 1 or more than 65,536 heads.
Result<std::vector<float>> alibi_slopes(std::int64_t n_heads, AlibiOrder order);

}  // namespace quern::models
