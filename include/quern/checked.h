/// \file
/// The one checked multiplication and addition. Every product or sum of numbers that come from a
/// file goes through these; a wrapped value is nullopt, never a small number.
#pragma once

#include <concepts>
#include <limits>
#include <optional>

namespace quern {

/// \return a + b, or nullopt where it does not fit.
template <std::unsigned_integral T>
constexpr std::optional<T> checked_add(T a, T b) noexcept {
  if (b > std::numeric_limits<T>::max() - a) return std::nullopt;
  return static_cast<T>(a + b);
}

/// \return a * b, or nullopt where it does not fit.
template <std::unsigned_integral T>
constexpr std::optional<T> checked_mul(T a, T b) noexcept {
  if (a != 0 && b > std::numeric_limits<T>::max() / a) return std::nullopt;
  return static_cast<T>(a * b);
}

/// \return `value` rounded up to a multiple of `step` (any step > 0), or nullopt on overflow or
/// for step 0.
template <std::unsigned_integral T>
constexpr std::optional<T> round_up(T value, T step) noexcept {
  if (step == 0) return std::nullopt;
  const T rest = static_cast<T>(value % step);
  return rest == 0 ? std::optional<T>(value) : checked_add(value, static_cast<T>(step - rest));
}

}  // namespace quern
