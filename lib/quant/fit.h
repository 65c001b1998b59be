/// \file
/// Least-squares searches shared by the quantizers. Sums run over fixed lanes in a fixed order, so
/// results do not depend on the instruction set or the compiler. Inputs are finite, weights are
/// ≥ 0. Thread rule: pure, any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "quant/registry.h"

namespace quern::quant {

inline constexpr float kLargestF16 = 65504.0f;
inline constexpr float kNegligible = 1e-30f;  ///< A group with no larger magnitude is all zeros.

/// Rounds to the nearest integer, ties to even, for |x| < 2²²: a form that compilers vectorize
/// without SSE4.1.
inline float round_even(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 · 2²³: the sum's last bit is worth 1
  return (x + kMagic) - kMagic;
}

/// `x` clamped to [lo, hi] and rounded; infinities clamp too.
inline float round_clamped(float x, float lo, float hi) {
  return round_even(std::min(std::max(x, lo), hi));
}

/// float16 bits of a finite scale; what overflows is held at the largest finite value.
inline std::uint16_t scale_to_f16(float scale) {
  return f32_to_f16(std::clamp(scale, -kLargestF16, kLargestF16));
}

/// 1/x, or 0 where x is 0 or its inverse overflows.
inline float safe_inverse(float x) {
  const float inverse = x == 0.0f ? 0.0f : 1.0f / x;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

/// Weights of `padded` columns: the hint's (scaled so that the largest is 1; what is negative or
/// not finite counts as 0), or ones; zeros beyond `cols`.
std::vector<float> column_weights(std::int64_t cols, std::int64_t padded,
                                  const QuantizeHints& hints);

/// Σ f(i) for i in [0, N): four lanes over i, then pairwise; N is a multiple of 4. The terms are
/// formed first: two plain loops are what compilers vectorize at -O2.
template <int N, class F>
inline float lane_sum(F f) {
  float term[N];
  for (int i = 0; i < N; ++i) term[i] = f(i);
  float lane[4] = {0, 0, 0, 0};
  for (int i = 0; i < N; i += 4) {
    for (int l = 0; l < 4; ++l) lane[l] += term[i + l];
  }
  return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

/// The largest |x| of `n`, a multiple of 4; NaNs do not count. Four lanes, which compilers
/// vectorize.
inline float largest_magnitude(const float* x, std::int64_t n) {
  float lane[4] = {0, 0, 0, 0};
  for (std::int64_t i = 0; i < n; i += 4) {
    for (int l = 0; l < 4; ++l) lane[l] = std::max(lane[l], std::fabs(x[i + l]));
  }
  return std::max(std::max(lane[0], lane[1]), std::max(lane[2], lane[3]));
}

/// The candidate scales of a symmetric search: extreme magnitude / (first + i·step), i < count.
struct ScaleGrid {
  float first, step;
  int count;
};

/// Finds s minimizing Σ w (x − s·q)², q = round_clamped(x/s, lo, hi): for each candidate (of both
/// signs, since lo and hi may differ) the codes, then the exact least-squares s of those codes.
/// \return s, 0 for a group of zeros or without weight.
template <int N>
float fit_scale(const float* x, const float* w, float lo, float hi, const ScaleGrid& grid) {
  float extreme = 0;
  for (int i = 0; i < N; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  if (!(std::fabs(extreme) > kNegligible)) return 0.0f;
  const float inverse = 1.0f / extreme;
  float u[N];
  for (int i = 0; i < N; ++i) u[i] = x[i] * inverse;
  float best_gain = 0, best = 0;
  for (int c = 0; c < 2 * grid.count; ++c) {
    const float size = grid.first + grid.step * static_cast<float>(c / 2);
    const float inverse_scale = c % 2 == 0 ? -size : size;
    float q[N];
    for (int i = 0; i < N; ++i) q[i] = round_clamped(u[i] * inverse_scale, lo, hi);
    const float uq = lane_sum<N>([&](int i) { return w[i] * u[i] * q[i]; });
    const float qq = lane_sum<N>([&](int i) { return w[i] * q[i] * q[i]; });
    // With the best s the error is Σwu² − uq²/qq.
    if (qq > 0 && uq * uq > best_gain * qq) {
      best_gain = uq * uq / qq;
      best = uq / qq;
    }
  }
  return best * extreme;
}

/// An affine fit x ≈ scale·q + min.
struct AffineFit {
  float scale = 0, min = 0;
};

/// Finds (scale ≥ 0, min) minimizing Σ w (x − scale·q − min)², q in 0…levels; min ≤ 0 where
/// `min_not_positive`.
template <int N>
AffineFit fit_affine(const float* x, const float* w, float levels, bool min_not_positive) {
  float lo = *std::min_element(x, x + N);
  const float hi = *std::max_element(x, x + N);
  if (min_not_positive) lo = std::min(lo, 0.0f);
  const float range = hi - lo;
  if (!(range > kNegligible) || !std::isfinite(range)) return {0.0f, lo};
  float u[N];  // 0…1
  for (int i = 0; i < N; ++i) u[i] = (x[i] - lo) * (1.0f / range);
  const float sw = lane_sum<N>([&](int i) { return w[i]; });
  const float su = lane_sum<N>([&](int i) { return w[i] * u[i]; });
  const float top = min_not_positive ? -lo / range : 2.0f;  // largest offset allowed
  AffineFit best{1.0f / levels, 0.0f};
  float best_gain = -1.0f;
  auto attempt = [&](float inverse_scale, float offset) {
    float q[N];
    for (int i = 0; i < N; ++i) q[i] = round_clamped((u[i] - offset) * inverse_scale, 0.0f, levels);
    const float sq = lane_sum<N>([&](int i) { return w[i] * q[i]; });
    const float sqq = lane_sum<N>([&](int i) { return w[i] * q[i] * q[i]; });
    const float suq = lane_sum<N>([&](int i) { return w[i] * u[i] * q[i]; });
    const float det = sw * sqq - sq * sq;
    if (!(det > 1e-6f * sw * sqq) || !(sqq > 0)) return;
    AffineFit fit{(sw * suq - su * sq) / det, (sqq * su - sq * suq) / det};
    if (fit.min > top) fit = {(suq - top * sq) / sqq, top};
    if (!(fit.scale > 0)) return;
    // Σwu² − error: what the fit explains.
    const float gain = 2 * (fit.scale * suq + fit.min * su) - fit.scale * fit.scale * sqq -
                       2 * fit.scale * fit.min * sq - fit.min * fit.min * sw;
    if (gain > best_gain) {
      best_gain = gain;
      best = fit;
    }
  };
  for (int c = 0; c < 20; ++c) attempt(levels - 1.0f + 0.2f * static_cast<float>(c), 0.0f);
  for (int again = 0; again < 3; ++again) attempt(1.0f / best.scale, best.min);
  return {best.scale * range, best.min * range + lo};
}

/// Codes of x under a symmetric scale: round_clamped(x/scale, lo, hi) + offset.
inline void encode_symmetric(const float* x, int n, float scale, float lo, float hi, float offset,
                             std::uint8_t* code) {
  const float inverse = safe_inverse(scale);
  for (int i = 0; i < n; ++i) {
    code[i] =
        static_cast<std::uint8_t>(static_cast<int>(round_clamped(x[i] * inverse, lo, hi) + offset));
  }
}

/// Codes 0…levels of x under x ≈ scale·q + min.
inline void encode_affine(const float* x, int n, float scale, float min, float levels,
                          std::uint8_t* code) {
  const float inverse = safe_inverse(scale);
  for (int i = 0; i < n; ++i) {
    code[i] = static_cast<std::uint8_t>(
        static_cast<int>(round_clamped((x[i] - min) * inverse, 0.0f, levels)));
  }
}

}  // namespace quern::quant
