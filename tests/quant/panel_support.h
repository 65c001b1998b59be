/// \file
/// What the tests of lib/quant share: random bytes, random weights, panels of any encoding.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "quant/registry.h"

namespace quern::quant::test {

/// Bytes from a fixed seed.
inline std::vector<std::byte> random_bytes(std::size_t n, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::byte> bytes(n);
  for (auto& b : bytes) b = static_cast<std::byte>(generator() >> 24);
  return bytes;
}

/// Standard normal numbers; made here, because std::normal_distribution differs between libraries.
inline std::vector<float> gaussian(std::size_t n, std::uint32_t seed) {
  std::mt19937 generator(seed);
  auto uniform = [&] { return (static_cast<double>(generator()) + 0.5) / 4294967296.0; };
  std::vector<float> x(n);
  for (auto& v : x) {
    v = static_cast<float>(std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307 * uniform()));
  }
  return x;
}

/// Student-t numbers with 5 degrees of freedom: heavy tails, as trained weights have.
inline std::vector<float> student_t5(std::size_t n, std::uint32_t seed) {
  const std::vector<float> z = gaussian(6 * n, seed);
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    float chi2 = 0;
    for (std::size_t j = 1; j < 6; ++j) chi2 += z[6 * i + j] * z[6 * i + j];
    x[i] = z[6 * i] / std::sqrt(chi2 / 5);
  }
  return x;
}

inline std::size_t panel_size(Encoding id, std::int64_t cols) {
  return static_cast<std::size_t>(
      panel_bytes(*find_encoding(id), static_cast<std::uint64_t>(cols)).value());
}

/// `rows16[16][cols]` → panel → floats.
inline std::vector<float> round_trip(const EncodingOps& ops, const std::vector<float>& rows16,
                                     std::int64_t cols, const QuantizeHints& hints = {}) {
  std::vector<std::byte> panel(panel_size(ops.id, cols));
  std::vector<float> back(rows16.size());
  ops.quantize_panel(rows16.data(), cols, hints, panel.data());
  ops.dequantize_panel(panel.data(), cols, back.data());
  return back;
}

/// √(Σ w (x−y)² / Σ w x²) with w by column, or 1.
inline double relative_rmse(const std::vector<float>& x, const std::vector<float>& y,
                            const std::vector<float>& column_weight = {}) {
  double error = 0, power = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double w = column_weight.empty() ? 1 : column_weight[i % column_weight.size()];
    error += w * std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
    power += w * static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return std::sqrt(error / power);
}

}  // namespace quern::quant::test
