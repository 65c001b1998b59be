#include "base/scalar_math.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/sin_cos.h"

namespace quern::base {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// ln 2 in parts of 33 bits, so that products with small whole numbers are exact.
constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;

/// x·2^n for any n that matters, rounded once.
double scale_by_power(double x, int n) {
  const auto power = [](int e) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52);
  };
  const int half = n / 2;
  return (x * power(half)) * power(n - half);
}

/// e^(x + low), |low| tiny.
double exp_pair(double x, double low) {
  if (!(x < 710.0)) return x != x ? x : kInfinity;
  if (x < -746.0) return 0.0;
  const double n = std::nearbyint(x * 0x1.71547652b82fep+0);
  const double high = x - n * kLn2High;  // Exact.
  const double tail = low - n * kLn2Low;
  const Pair r = two_sum(high, tail);
  const double p = taylor(r.high, 2, 15, 1, false);
  const double small = std::fma(r.high * r.high, p, r.low);
  return scale_by_power(1.0 + (r.high + small), static_cast<int>(n));
}

/// ln x of a positive finite x to about 100 bits.
Pair log_pair(double x) {
  int e = 0;
  double m = std::frexp(x, &e);  // Exact: no rounding, the same everywhere.
  if (m < 0x1.6a09e667f3bcdp-1) {
    m *= 2.0;
    --e;
  }
  const double f = m - 1.0;
  // ln m = 2·(s + s³/3 + s⁵/5 + …), s = f/(2 + f) as a pair.
  const double t = 2.0 + f;
  const double t_low = f - (t - 2.0);
  const double s = f / t;
  const double s_low = (std::fma(-s, t, f) - s * t_low) / t;
  const Pair square = two_product(s, s);
  const Pair cube = two_product(square.high, s);
  const double cube_low = std::fma(square.low, s, std::fma(3.0 * square.high, s_low, cube.low));
  constexpr double kThird = 2.0 / 3.0, kThirdLow = (2.0 - 3.0 * kThird) / 3.0;
  const Pair third = two_product(cube.high, kThird);
  const double third_low = std::fma(cube_low, kThird, std::fma(cube.high, kThirdLow, third.low));
  double rest = 0.0;
  for (int n = 27; n >= 5; n -= 2) rest = std::fma(rest, square.high, 2.0 / n);
  rest *= cube.high * square.high;
  const double k = e;
  Pair sum = two_sum(k * kLn2High, 2.0 * s);
  const Pair more = two_sum(sum.high, third.high);
  sum = {more.high, sum.low + more.low};
  const double low = sum.low + (k * kLn2Low + (2.0 * s_low + (third_low + rest)));
  return two_sum(sum.high, low);
}

}  // namespace

SinCos sin_cos(double x) noexcept { return sin_cos_of(x); }

double exp(double x) noexcept { return exp_pair(x, 0.0); }

double log(double x) noexcept {
  if (!(x > 0.0)) return x == 0.0 ? -kInfinity : kNan;
  if (x == kInfinity) return x;
  return log_pair(x).high;
}

double pow(double x, double y) noexcept {
  if (y == 0.0 || x == 1.0) return 1.0;
  if (x != x || y != y) return kNan;
  const bool whole = std::trunc(y) == y;
  const bool odd = whole && std::fabs(y) < 0x1p53 && (static_cast<std::int64_t>(y) & 1) != 0;
  const double sign = std::signbit(x) && odd ? -1.0 : 1.0;
  const double a = std::fabs(x);
  if (a == 0.0) return y > 0.0 ? sign * 0.0 : sign * kInfinity;
  if (x < 0.0 && !whole && std::fabs(y) != kInfinity) return a == kInfinity && y < 0.0 ? 0.0 : kNan;
  if (a == kInfinity) return y > 0.0 ? sign * kInfinity : sign * 0.0;
  if (std::fabs(y) == kInfinity) return a == 1.0 ? 1.0 : (a > 1.0) == (y > 0.0) ? kInfinity : 0.0;
  const Pair l = log_pair(a);
  const Pair product = two_product(l.high, y);
  if (!(std::fabs(product.high) < 1e4)) return product.high > 0.0 ? sign * kInfinity : sign * 0.0;
  const double low = std::fma(l.low, y, product.low);
  return sign * exp_pair(product.high, low);
}

double tanh(double x) noexcept {
  const double a = std::fabs(x);
  if (!(a >= 0.35)) {  // Also NaN.
    const double r = 2.0 * x;
    const double e = std::fma(r * r, taylor(r, 2, 19, 1, false), r);
    return e / (e + 2.0);
  }
  const double y = a > 20.0 ? 1.0 : 1.0 - 2.0 / (exp_pair(2.0 * a, 0.0) + 1.0);
  return x < 0.0 ? -y : y;
}

}  // namespace quern::base
