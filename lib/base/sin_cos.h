/// \file
/// The body of sin_cos (base/scalar_math.h), and the sums that it shares with its neighbours: also
/// compiled for devices. Everything lies in an anonymous namespace, so that no code compiled with
/// other flags takes its place.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/scalar_math.h"

#if defined(__CUDACC__)
#define QUERN_BASE_INLINE static __host__ __device__ __forceinline__
#define QUERN_BASE_TABLE static __device__ constexpr
#else
#define QUERN_BASE_INLINE inline
#define QUERN_BASE_TABLE constexpr
#endif

namespace quern::base {
namespace {

// π/2 in parts of 33 bits, so that products with small whole numbers are exact.
constexpr double kHalfPi1 = 0x1.921fb54400000p+0, kHalfPi2 = 0x1.0b4611a600000p-34,
                 kHalfPi3 = 0x1.3198a2e037073p-69;

/// 1/n! for n = 0 … 20.
struct Factorials {
  double inverse[21];
  constexpr Factorials() : inverse{} {
    double f = 1.0;  // Exact up to 18!, correctly rounded beyond.
    for (int n = 0; n <= 20; ++n) {
      if (n > 0) f *= n;
      inverse[n] = 1.0 / f;
    }
  }
};
QUERN_BASE_TABLE Factorials kFactorials;

/// A number as an unevaluated sum; |low| ≤ ulp(high)/2.
struct Pair {
  double high, low;
};
QUERN_BASE_INLINE Pair two_sum(double a, double b) {
  const double s = a + b;
  const double t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
QUERN_BASE_INLINE Pair two_product(double a, double b) {
  const double p = a * b;
  return {p, std::fma(a, b, -p)};
}

/// Σ r^(n−first)/n! for n = first … last, step `step`, with alternating signs where asked.
QUERN_BASE_INLINE double taylor(double r, int first, int last, int step, bool alternate) {
  double p = 0.0;
  for (int n = last; n >= first; n -= step) {
    const bool negative = alternate && ((n - first) / step) % 2 == 1;
    p = std::fma(p, r, negative ? -kFactorials.inverse[n] : kFactorials.inverse[n]);
  }
  return p;
}

QUERN_BASE_INLINE std::uint64_t bits_of(double x) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
QUERN_BASE_INLINE double number_of(std::uint64_t bits) {
  double x = 0.0;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// See sin_cos(). Free of branches, so that a loop of it becomes vectors.
QUERN_BASE_INLINE SinCos sin_cos_of(double x) {
  // x = n·π/2 + r; r as a pair. The low bits of t are n's.
  constexpr double kMagic = 0x1.8p+52;
  const double t = x * 0x1.45f306dc9c883p-1 + kMagic;
  const double n = t - kMagic;
  const Pair product1 = two_product(n, kHalfPi1), product2 = two_product(n, kHalfPi2);
  const double a = x - product1.high;  // Exact: the two are close.
  const Pair b = two_sum(a, -product2.high);
  const Pair c = two_sum(b.high, -product1.low);
  const Pair r = two_sum(c.high, (b.low + c.low) - product2.low - n * kHalfPi3);
  const double z = r.high * r.high;
  // sin(r + ε) = sin r + ε·cos r, cos(r + ε) = cos r − ε·sin r.
  const double s_rest = -(z * r.high) * taylor(z, 3, 19, 2, true);
  const double c_rest = z * z * taylor(z, 4, 20, 2, true);
  const double half = 0.5 * z;
  const double c_head = 1.0 - half;
  const double c_error = (1.0 - c_head) - half + std::fma(-0.5 * r.high, r.high, half);
  const std::uint64_t sine = bits_of(r.high + (s_rest + r.low * (1.0 - half)));
  const std::uint64_t cosine = bits_of(c_head + (c_error + (c_rest - r.low * r.high)));
  // Odd n swap the two; n of 2 and 3 negate the sine, of 1 and 2 the cosine.
  const std::uint64_t quadrant = bits_of(t), swap = (sine ^ cosine) & (0 - (quadrant & 1));
  const std::uint64_t beyond = (bits_of(1e9) - (bits_of(x) & 0x7fffffffffffffffu)) >> 63;
  const std::uint64_t nothing = (0 - beyond) & 0x7ff8000000000000u;  // A NaN's bits.
  return {number_of((sine ^ swap ^ ((quadrant & 2) << 62)) | nothing),
          number_of((cosine ^ swap ^ (((quadrant + 1) & 2) << 62)) | nothing)};
}

}  // namespace
}  // namespace quern::base
