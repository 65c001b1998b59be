#include "models/alibi.h"

#include "base/scalar_math.h"

namespace quern::models {
namespace {

constexpr std::int64_t kMaxHeads = 65536;
constexpr double kBiasMax = 8.0;

/// Number `i` of the slopes of `n` heads, a power of two: 2^(−8(i + 1)/n).
float slope(std::int64_t i, std::int64_t n) {
  return static_cast<float>(
      base::pow(2.0, -kBiasMax * static_cast<double>(i + 1) / static_cast<double>(n)));
}

}  // namespace

Result<std::vector<float>> alibi_slopes(std::int64_t n_heads, AlibiOrder order) {
  if (n_heads < 1 || n_heads > kMaxHeads)
    return Error(ErrorCode::kOutOfRange, "the number of heads is out of range").of("n_heads");
  std::int64_t lower = 1;
  while (2 * lower <= n_heads) lower *= 2;
  const std::int64_t higher = lower == n_heads ? lower : 2 * lower;
  std::vector<float> slopes;
  for (std::int64_t i = 0; i < lower; ++i) {
    const bool odds = order == AlibiOrder::kOddsFirst && higher != lower;
    slopes.push_back(odds ? slope(2 * i + 1, higher) : slope(i, lower));
  }
  for (std::int64_t i = 0; lower + i < n_heads; ++i) slopes.push_back(slope(2 * i, higher));
  return slopes;
}

}  // namespace quern::models
