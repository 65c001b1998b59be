/// \file
/// Native encodings: rows padded with zeros to 64, turned by hadamard64(), stored as whole numbers
/// under one float32 scale a row (native_grid.h). The frame that turns a row of the table of grids
/// into a row of the registry.
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
#include "quant/native_grid.h"
#include "quant/panel.h"

namespace quern::quant {

/// The functions of an EncodingOps row of a native encoding; contracts are those of registry.h.
template <Encoding E>
struct NativeCodec {
  static std::uint64_t foreign_row_bytes(std::int64_t) { return 0; }

  static void dequantize(const std::byte* panel, std::int64_t cols, float* rows16) {
    Row values(padded_to(cols, 64));
    for (int row = 0; row < kPanelRows; ++row) {
      values.read(panel, cols, row);
      hadamard64(values.x.data(), values.n);
      std::copy_n(values.x.data(), cols, rows16 + row * cols);
    }
  }

  static void quantize(const float* rows16, std::int64_t cols, const QuantizeHints& hints,
                       std::byte* panel) {
    clear_panel(E, panel, cols);
    Row values(padded_to(cols, 64));
    const std::vector<float> w = rotated_weights(cols, values.n, hints);
    auto& x = values.x;
    for (int row = 0; row < kPanelRows; ++row) {
      std::fill(std::copy_n(rows16 + row * cols, cols, x.begin()), x.end(), 0.0f);
      hadamard64(x.data(), values.n);
      const bool finite = all_finite(x);
      if (!finite) std::fill(x.begin(), x.end(), 0.0f);
      const float scale = values.fit(w.data());
      const float stored = finite ? scale : std::numeric_limits<float>::quiet_NaN();
      store_native_row(values.grid, values.numbers(stored), panel, cols, row);
    }
  }

 private:
  /// A rotated row as floats and as whole numbers.
  struct Row {
    const NativeGrid& grid = *find_native_grid(E);
    std::int64_t n;
    std::vector<float> x;
    std::vector<std::int8_t> multiples;
    std::vector<std::uint8_t> subs;

    explicit Row(std::int64_t padded)
        : n(padded),
          x(static_cast<std::size_t>(padded)),
          multiples(static_cast<std::size_t>(padded)),
          subs(static_cast<std::size_t>(padded / kSubGroup), std::uint8_t{1}) {}

    NativeRow numbers(float scale) { return {multiples, subs, scale}; }

    void read(const std::byte* panel, std::int64_t cols, int row) {
      const float scale = load_native_row(grid, panel, cols, row, numbers(0));
      for (std::size_t k = 0; k < x.size(); ++k) {
        x[k] = static_cast<float>(multiples[k] * subs[k / kSubGroup]) * scale;
      }
    }

    /// Chooses the whole numbers of x, which is turned into units of its largest magnitude so that
    /// squares cannot overflow: every group of 16 takes the sub-scale with the least squared error
    /// under the scale that was searched. \return the least-squares scale of those numbers.
    float fit(const float* w) {
      float largest = largest_magnitude(x.data(), n);
      if (!(largest > kNegligible)) largest = 0;
      const float inverse = safe_inverse(largest);
      for (float& v : x) v *= inverse;
      const float scale = search_row_scale(grid, x.data(), w, n);
      double xv = 0, vv = 0;  // Weighted sums of x·v and v², v without the row scale.
      for (std::int64_t k = 0; k < n; k += kSubGroup) {
        const Products sum = fit_group(k, scale);
        xv += static_cast<double>(w[k / 64]) * static_cast<double>(sum.xv);
        vv += static_cast<double>(w[k / 64]) * static_cast<double>(sum.vv);
      }
      return (vv > 0 ? static_cast<float>(xv / vv) : scale) * largest;
    }

    struct Products {
      float xv, vv;
    };
    Products fit_group(std::int64_t k, float scale) {
      const float* u = x.data() + k;
      const int sub = best_sub(grid, u, nullptr, scale);
      const auto step = static_cast<float>(sub);
      float v[kSubGroup];
      nearest_multiples(grid, u, safe_inverse(scale * step), v);
      for (int i = 0; i < kSubGroup; ++i) {
        multiples[static_cast<std::size_t>(k + i)] = static_cast<std::int8_t>(v[i]);
        v[i] *= step;
      }
      subs[static_cast<std::size_t>(k / kSubGroup)] = static_cast<std::uint8_t>(sub);
      return {lane_sum<kSubGroup>([&](int i) { return u[i] * v[i]; }),
              lane_sum<kSubGroup>([&](int i) { return v[i] * v[i]; })};
    }
  };

  /// Without a branch, which compilers vectorize.
  static bool all_finite(const std::vector<float>& x) {
    unsigned bad = 0;
    for (const float v : x) bad |= std::fabs(v) <= std::numeric_limits<float>::max() ? 0U : 1U;
    return bad == 0;
  }

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

/// The row of the registry of a native encoding.
template <Encoding E>
constexpr EncodingOps native_ops() {
  using Codec = NativeCodec<E>;
  return {E, Codec::dequantize, Codec::quantize, nullptr, nullptr, Codec::foreign_row_bytes};
}

}  // namespace quern::quant
