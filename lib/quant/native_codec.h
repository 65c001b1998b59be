/// \file
/// Native encodings: rows padded with zeros to 64, turned by hadamard64(), stored as integers under
/// one float32 scale a row. The frame that a description `C` (one header each) fills:
/// - `kId`,
/// - `values(streams, row, n, x)`: the stored, still rotated row `x[n]`,
/// - `fit(x, w, n, streams, row)`: stores a finite rotated row; `w[n / 64]` weighs the error of
///   each 64 elements. Streams begin as zeros.
///
/// Column weights are second moments of the unrotated inputs. Their rotated diagonal, were the
/// inputs uncorrelated, is the mean over each 64, because every entry of H/8 squared is 1/64.
///
/// A row with a NaN, an infinity, or magnitudes whose sum of 64 overflows is stored under a NaN
/// scale: all of it reads as NaN. Thread rule: pure, any thread.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "quant/fit.h"
#include "quant/panel.h"

namespace quern::quant {

/// The functions of an EncodingOps row for description `C`; contracts are those of registry.h.
template <class C>
struct NativeCodec {
  static std::uint64_t foreign_row_bytes(std::int64_t) { return 0; }

  static void dequantize(const std::byte* panel, std::int64_t cols, float* rows16) {
    const auto streams = locate_streams(C::kId, panel, cols);
    const std::int64_t n = padded_to(cols, 64);
    std::vector<float> x(static_cast<std::size_t>(n));
    for (int row = 0; row < kPanelRows; ++row) {
      C::values(streams, row, n, x.data());
      hadamard64(x.data(), n);
      std::copy_n(x.data(), cols, rows16 + row * cols);
    }
  }

  static void quantize(const float* rows16, std::int64_t cols, const QuantizeHints& hints,
                       std::byte* panel) {
    clear_panel(C::kId, panel, cols);
    const auto streams = locate_streams(C::kId, panel, cols);
    const std::int64_t n = padded_to(cols, 64);
    const std::vector<float> w = rotated_weights(cols, n, hints);
    std::vector<float> x(static_cast<std::size_t>(n));
    for (int row = 0; row < kPanelRows; ++row) {
      std::fill(std::copy_n(rows16 + row * cols, cols, x.begin()), x.end(), 0.0f);
      hadamard64(x.data(), n);
      if (!std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); })) {
        std::fill(x.begin(), x.end(), 0.0f);
        C::fit(x.data(), w.data(), n, streams, row);
        store_row_scale(streams, row, std::numeric_limits<float>::quiet_NaN());
      } else {
        C::fit(x.data(), w.data(), n, streams, row);
      }
    }
  }

  static void store_row_scale(const PanelStreams<std::byte>& streams, int row, float scale) {
    store_le(streams.at[C::kScaleStream] + 4 * row, scale);
  }
  template <class Byte>
  static float load_row_scale(const PanelStreams<Byte>& streams, int row) {
    return load_le<float>(streams.at[C::kScaleStream] + 4 * row);
  }

 private:
  static std::vector<float> rotated_weights(std::int64_t cols, std::int64_t n,
                                            const QuantizeHints& hints) {
    const std::vector<float> w = column_weights(cols, n, hints);
    std::vector<float> mean(static_cast<std::size_t>(n / 64));
    for (std::size_t b = 0; b < mean.size(); ++b) {
      mean[b] = lane_sum<64>([&](int i) { return w[64 * b + static_cast<std::size_t>(i)]; }) / 64;
    }
    return mean;
  }
};

/// The row of the registry of description `C`.
template <class C>
constexpr EncodingOps native_ops() {
  using Codec = NativeCodec<C>;
  return {C::kId, Codec::dequantize, Codec::quantize, nullptr, nullptr, Codec::foreign_row_bytes};
}

/// \return the largest magnitude of `x[n]`.
inline float largest_magnitude(const float* x, std::int64_t n) {
  float largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

}  // namespace quern::quant
