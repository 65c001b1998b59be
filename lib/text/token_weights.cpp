#include "text/token_weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace quern::text {
namespace {

constexpr std::size_t kLanes = 16;  // Independent chains: a vector or several, the same result.
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Calls step(lane, value) for all values, the lanes in turn.
template <class Step>
void in_lanes(std::span<const float> values, Step step) noexcept {
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) step(lane, values[i + lane]);
  for (std::size_t i = whole; i < values.size(); ++i) step(i - whole, values[i]);
}

/// 2^x for −125 ≤ x ≤ 0: the whole part goes into the exponent, the rest (±½) through its series
/// (ln 2)^n / n!, whose seventh term is below 2^−23 there.
float exp2_of(float x) noexcept {
  constexpr float kToWhole = 12582912.0F;  // 1.5 · 2^23: adding it rounds to a whole number.
  const float shifted = x + kToWhole;
  const float rest = x - (shifted - kToWhole);
  float power = 1.54035304e-4F;
  power = power * rest + 1.33335581e-3F;
  power = power * rest + 9.61812911e-3F;
  power = power * rest + 5.55041087e-2F;
  power = power * rest + 2.40226507e-1F;
  power = power * rest + 6.93147181e-1F;
  power = power * rest + 1.0F;
  const std::uint32_t whole = std::bit_cast<std::uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(power) + whole);
}

}  // namespace

float largest(std::span<const float> values) noexcept {
  std::array<float, kLanes> top;
  top.fill(kMinusInfinity);
  in_lanes(values, [&](std::size_t lane, float value) {
    top[lane] = value > top[lane] ? value : top[lane];
  });
  return *std::max_element(top.begin(), top.end());
}

bool are_usable(std::span<const float> values) noexcept {
  std::array<std::uint32_t, kLanes> bad{};
  in_lanes(values, [&](std::size_t lane, float value) {
    // A NaN and +inf both fail the comparison.
    bad[lane] |= value <= std::numeric_limits<float>::max() ? 0U : 1U;
  });
  return std::all_of(bad.begin(), bad.end(), [](std::uint32_t b) { return b == 0; });
}

void weigh(std::span<const float> values, float top, float temperature,
           std::span<float> weights) noexcept {
  constexpr float kLog2E = 1.44269504F, kLowest = -125.0F;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float x = (values[i] - top) / temperature * kLog2E;
    const float power = exp2_of(x > kLowest ? x : kLowest);
    weights[i] = x > kLowest ? power : 0.0F;
  }
}

double sum_of(std::span<const float> weights) noexcept {
  std::array<double, kLanes> sums{};
  in_lanes(weights,
           [&](std::size_t lane, float weight) { sums[lane] += static_cast<double>(weight); });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

}  // namespace quern::text
