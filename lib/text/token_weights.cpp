#include "text/token_weights.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace quern::text {
namespace {

constexpr std::size_t kLanes = 16;  // Independent chains: a vector or several, the same result.
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Calls step(lane, value) for all values, the lanes in turn. By pointer: where a library checks
/// the indices of spans, no loop over them becomes one of vectors.
template <class Step>
void in_lanes(std::span<const float> values, Step step) noexcept {
  const float* value = values.data();
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) step(lane, value[i + lane]);
  for (std::size_t i = whole; i < values.size(); ++i) step(i - whole, value[i]);
}

/// A whole number that is ordered as the value (and −0 below 0), and back. Selections by comparing
/// floats might trap, so compilers leave them alone; those of whole numbers become vectors.
std::int32_t order_of(float value) noexcept {
  const auto bits = std::bit_cast<std::int32_t>(value);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}
float value_of(std::int32_t order) noexcept {
  return std::bit_cast<float>(order ^ ((order >> 31) & 0x7FFFFFFF));
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
  std::int32_t top[kLanes];
  std::fill_n(top, kLanes, order_of(kMinusInfinity));
  in_lanes(values, [&](std::size_t lane, float value) {
    const std::int32_t order = order_of(value);
    top[lane] = order > top[lane] ? order : top[lane];
  });
  return value_of(*std::max_element(top, top + kLanes));
}

bool are_usable(std::span<const float> values) noexcept {
  std::uint32_t bad[kLanes] = {};
  in_lanes(values, [&](std::size_t lane, float value) {
    // A NaN and +inf both fail the comparison.
    bad[lane] |= value <= std::numeric_limits<float>::max() ? 0U : 1U;
  });
  return std::all_of(bad, bad + kLanes, [](std::uint32_t b) { return b == 0; });
}

void weigh(std::span<const float> values, float top, float temperature,
           std::span<float> weights) noexcept {
  constexpr float kLog2E = 1.44269504F;
  constexpr std::uint32_t kLowest = std::bit_cast<std::uint32_t>(-125.0F);
  const float* value = values.data();
  float* weight = weights.data();
  const std::size_t count = values.size();
  for (std::size_t i = 0; i < count; ++i) {
    // Of numbers that are not positive the smaller one has the larger bits.
    const auto bits = std::bit_cast<std::uint32_t>((value[i] - top) / temperature * kLog2E);
    const float power = exp2_of(std::bit_cast<float>(bits < kLowest ? bits : kLowest));
    const std::uint32_t kept = bits < kLowest ? ~0U : 0U;
    weight[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(power) & kept);
  }
}

double sum_of(std::span<const float> weights) noexcept {
  double sums[kLanes] = {};
  in_lanes(weights,
           [&](std::size_t lane, float weight) { sums[lane] += static_cast<double>(weight); });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

}  // namespace quern::text
