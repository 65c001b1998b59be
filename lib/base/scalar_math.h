/// \file
/// Double-precision functions of our own: sampler and rotary tables give the same bits on every
/// machine and C library. Only IEEE + − × ÷ and fma are used. Relative error at most 1e-15.
/// Thread rule: pure, any thread.
#pragma once

namespace quern::base {

struct SinCos {
  double sin, cos;
};

/// Sine and cosine of `x` radians, for |x| ≤ 1e7; NaN beyond 1e9 and for NaN and infinities.
SinCos sin_cos(double x) noexcept;

/// e^x; 0 and +∞ where it leaves the range.
double exp(double x) noexcept;

/// Natural logarithm; −∞ at 0, NaN below.
double log(double x) noexcept;

/// x^y for x > 0 (0 and whole y as in C; NaN for negative x with fractional y).
double pow(double x, double y) noexcept;

double tanh(double x) noexcept;

}  // namespace quern::base
