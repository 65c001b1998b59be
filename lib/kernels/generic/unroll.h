/// \file
/// Loops that are unrolled when compiled, with the index as a constant: arrays of vectors indexed
/// by it stay in registers under every compiler.
#pragma once

#include <cstddef>
#include <cstring>
#include <utility>

#include "kernels/generic/inline.h"

namespace quern::kernels {
namespace {

/// A number at any alignment, whatever it was written as.
template <class T>
QUERN_INLINE T peek(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

template <int i>
struct Index {
  static constexpr int value = i;
  QUERN_INLINE constexpr operator int() const { return i; }  // NOLINT
};

template <class F, int... i>
QUERN_INLINE void each_of(F& f, std::integer_sequence<int, i...>) {
  (f(Index<i>{}), ...);
}

/// f(Index<0>{}), …, f(Index<n − 1>{}).
template <int n, class F>
QUERN_INLINE void each(F f) {
  each_of(f, std::make_integer_sequence<int, n>{});
}

}  // namespace
}  // namespace quern::kernels
