/// \file
/// QR4, native: rotated rows as 4-bit codes c (0…15), an integer sub-scale s (0…15) per 16
/// elements and one float32 scale a row; value float((c − 8)·s)·row_scale. The product (c − 8)·s
/// is an exact int8 of magnitude at most 120, so a row expands to an int8 panel without rounding.
/// Panels: codes as in every 4-bit encoding; per 32 elements one byte a row, s of the first 16 in
/// the low and of the second 16 in the high nibble; row scales.
#pragma once

#include "quant/native_codec.h"

namespace quern::quant {

/// Describes QR4 to NativeCodec.
struct QR4 {
  static constexpr Encoding kId = Encoding::kQR4;
  static constexpr std::size_t kScaleStream = 2;

  static void values(const PanelStreams<const std::byte>& streams, int row, std::int64_t n,
                     float* x) {
    const float scale = NativeCodec<QR4>::load_row_scale(streams, row);
    for (std::int64_t k = 0; k < n; k += 32) {
      std::uint8_t code[32] = {};
      get_nibbles(streams.at[0] + k / 32 * 256, row, code);
      const auto subs = std::to_integer<int>(streams.at[1][k / 32 * 16 + row]);
      for (int i = 0; i < 32; ++i) {
        const int sub = i < 16 ? subs & 15 : subs >> 4;
        x[k + i] = static_cast<float>((code[i] - 8) * sub) * scale;
      }
    }
  }

  /// Searches the row scale; for each candidate every group of 16 takes the sub-scale with the
  /// least squared error. The best candidate's scale is then refined by least squares.
  static void fit(const float* x, const float* w, std::int64_t n,
                  const PanelStreams<std::byte>& streams, int row) {
    const float largest = largest_magnitude(x, n);
    std::vector<float> unit(static_cast<std::size_t>(n), 0.0f);  // squares of it cannot overflow
    float scale = 0;
    if (largest > kNegligible) {
      const float inverse = 1.0f / largest;
      std::transform(x, x + n, unit.begin(), [inverse](float v) { return v * inverse; });
      scale = search_scale(unit.data(), w, n);
    }
    NativeCodec<QR4>::store_row_scale(streams, row, scale * largest);
    for (std::int64_t k = 0; k < n; k += 32) {
      std::uint8_t code[32];
      unsigned subs = 0;
      for (int half = 0; half < 2; ++half) {
        const float* group = unit.data() + k + 16 * half;
        const int sub = best_sub(group, scale).sub;
        encode_symmetric(group, 16, scale * static_cast<float>(sub), -8.0f, 7.0f, 8.0f,
                         code + 16 * half);
        subs |= static_cast<unsigned>(sub) << (4 * half);
      }
      put_nibbles(streams.at[0] + k / 32 * 256, row, code);
      streams.at[1][k / 32 * 16 + row] = static_cast<std::byte>(subs);
    }
  }

 private:
  /// Weighted sums over a row of x·v, v² and (x − v)², v the stored values; v without the row
  /// scale.
  struct Score {
    double xv = 0, vv = 0, error = 0;
  };
  struct Group {
    int sub;
    float error;
  };

  static float search_scale(const float* x, const float* w, std::int64_t n) {
    // Sub-scale 15 with the codes' ±7.5 just reaches the largest magnitude, 1, where `reach` is 1.
    // The error is flat around it, and grows fast where the largest group is clipped.
    float scale = 1.0f / (7.5f * 15.0f);
    Score best = score(x, w, n, scale);
    for (const float reach : {0.88f, 0.92f, 0.96f, 1.04f, 1.08f}) {
      take_better(x, w, n, reach / (7.5f * 15.0f), scale, best);
    }
    if (best.vv > 0) {
      take_better(x, w, n, static_cast<float>(best.xv / best.vv), scale, best);
    }
    return scale;
  }

  static float group_error(const float* x, float step, float inverse) {
    return lane_sum<16>([=](int i) {
      const float error = x[i] - round_clamped(x[i] * inverse, -8.0f, 7.0f) * step;
      return error * error;
    });
  }

  /// The sub-scale with the least error of 16 elements, 0 where all of them are 0. Sought around
  /// the one at which the largest magnitude meets code 7.5 (on Gaussian groups the best lies at
  /// 0.8 to 1.55 times it).
  static Group best_sub(const float* x, float scale) {
    const float largest = largest_magnitude(x, 16);
    if (!(largest > 0)) return {0, 0.0f};
    const float center = std::min(largest / (7.5f * scale), 30.0f);
    const int first = std::clamp(static_cast<int>(0.75f * center), 1, 14);
    const int last = std::clamp(static_cast<int>(1.6f * center) + 1, first, 15);
    Group best{0, lane_sum<16>([=](int i) { return x[i] * x[i]; })};
    for (int sub = first; sub <= last; ++sub) {
      const float step = scale * static_cast<float>(sub);
      const float error = group_error(x, step, 1.0f / step);
      if (error < best.error) best = {sub, error};
    }
    return best;
  }

  static Score score(const float* x, const float* w, std::int64_t n, float scale) {
    Score sum;
    for (std::int64_t k = 0; k < n; k += 16) {
      const Group group = best_sub(x + k, scale);
      const auto sub = static_cast<float>(group.sub);
      const float inverse = safe_inverse(scale * sub);
      float v[16];
      for (int i = 0; i < 16; ++i) v[i] = round_clamped(x[k + i] * inverse, -8.0f, 7.0f) * sub;
      const double weight = static_cast<double>(w[k / 64]);
      const float* u = x + k;
      sum.xv += weight * static_cast<double>(lane_sum<16>([&](int i) { return u[i] * v[i]; }));
      sum.vv += weight * static_cast<double>(lane_sum<16>([&](int i) { return v[i] * v[i]; }));
      sum.error += weight * static_cast<double>(group.error);
    }
    return sum;
  }

  static void take_better(const float* x, const float* w, std::int64_t n, float candidate,
                          float& scale, Score& best) {
    const Score found = score(x, w, n, candidate);
    if (found.error < best.error) {
      best = found;
      scale = candidate;
    }
  }
};

}  // namespace quern::quant
