/// \file
/// QR8, native: rotated rows as signed bytes under one float32 scale a row; value c·row_scale with
/// c in −127…127. Panels hold c + 128 (unsigned).
#pragma once

#include "quant/native_codec.h"

namespace quern::quant {

/// Describes QR8 to NativeCodec.
struct QR8 {
  static constexpr Encoding kId = Encoding::kQR8;
  static constexpr std::size_t kScaleStream = 1;

  static void values(const PanelStreams<const std::byte>& streams, int row, std::int64_t n,
                     float* x) {
    const float scale = NativeCodec<QR8>::load_row_scale(streams, row);
    std::uint8_t code[32];
    for (std::int64_t k = 0; k < n; k += 32) {
      get_bytes(streams.at[0] + k / 32 * 512, row, code);
      for (int i = 0; i < 32; ++i) x[k + i] = static_cast<float>(code[i] - 128) * scale;
    }
  }

  /// Scale: the largest magnitude at 127, then the least-squares one for those codes if it is
  /// better.
  static void fit(const float* x, const float* w, std::int64_t n,
                  const PanelStreams<std::byte>& streams, int row) {
    const float largest = largest_magnitude(x, n);
    float scale = largest > kNegligible ? largest / 127.0f : 0.0f;
    if (scale > 0) {
      const Score first = score(x, w, n, scale);
      const auto refined = static_cast<float>(first.xq / first.qq) * scale;
      const Score second = score(x, w, n, refined);
      if (second.error * refined * refined < first.error * scale * scale) scale = refined;
    }
    NativeCodec<QR8>::store_row_scale(streams, row, scale);
    std::uint8_t code[32];
    for (std::int64_t k = 0; k < n; k += 32) {
      encode_symmetric(x + k, 32, scale, -127.0f, 127.0f, 128.0f, code);
      put_bytes(streams.at[0] + k / 32 * 512, row, code);
    }
  }

 private:
  /// Weighted sums over a row in units of the scale: x·q, q², (x − q)².
  struct Score {
    double xq = 0, qq = 0, error = 0;
  };
  static Score score(const float* x, const float* w, std::int64_t n, float scale) {
    const float inverse = safe_inverse(scale);
    Score sum;
    for (std::int64_t k = 0; k < n; k += 64) {
      float u[64], q[64];
      for (int i = 0; i < 64; ++i) {
        u[i] = x[k + i] * inverse;
        q[i] = round_clamped(u[i], -127.0f, 127.0f);
      }
      const double weight = static_cast<double>(w[k / 64]);
      sum.xq += weight * static_cast<double>(lane_sum<64>([&](int i) { return u[i] * q[i]; }));
      sum.qq += weight * static_cast<double>(lane_sum<64>([&](int i) { return q[i] * q[i]; }));
      sum.error += weight * static_cast<double>(
                                lane_sum<64>([&](int i) { return (u[i] - q[i]) * (u[i] - q[i]); }));
    }
    return sum;
  }
};

}  // namespace quern::quant
