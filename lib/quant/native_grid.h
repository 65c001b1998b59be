/// \file
/// What the native encodings of few bits have in common: a rotated row is stored as whole numbers
/// under one float32 scale, value = multiple · sub · row_scale, where a code q is the multiple
/// low + step·q and every 16 elements share an integer sub-scale. multiple · sub is an exact int8,
/// so a row of any of them is a row of QR8 without rounding. The searches here are shared by the
/// quantizers and by the converter's error feedback. Thread rule: pure, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quern/encoding.h"

namespace quern::quant {

/// Elements that share a sub-scale.
inline constexpr std::int64_t kSubGroup = 16;

/// The numbers of one encoding. A panel holds nibbles n of sub-scales: sub = smallest_sub + (n mod
/// (largest_sub − smallest_sub + 1)), a power of two; where largest_sub is 1 it holds none.
struct NativeGrid {
  Encoding id;
  int low, high, step;  ///< Multiples: low, low + step, … high.
  int smallest_sub, largest_sub;

  constexpr bool has_subs() const noexcept { return largest_sub > 1; }
};

/// \return null for an encoding that is no native one.
const NativeGrid* find_native_grid(Encoding id) noexcept;

/// The multiple nearest to `x`, in units of row_scale·sub. \pre x is finite.
float nearest_multiple(const NativeGrid& grid, float x) noexcept;
/// The multiples nearest to 16 elements times `inverse` (of row_scale·sub): `multiples[16]`.
void nearest_multiples(const NativeGrid& grid, const float* x, float inverse,
                       float* multiples) noexcept;

/// The sub-scale under which 16 elements of a rotated row have the least Σ w·(x −
/// v)². \param weights `[16]`, or null for equal ones.
int best_sub(const NativeGrid& grid, const float* x, const float* weights,
             float row_scale) noexcept;

/// A scale for the rotated row `x[n]`, n a multiple of 64, under which the best sub-scales leave
/// about the least error; 0 for a row of zeros. \param block_weights `[n / 64]`.
float search_row_scale(const NativeGrid& grid, const float* x, const float* block_weights,
                       std::int64_t n) noexcept;

/// A row's whole numbers: `multiples[n]`, `subs[n / 16]` (unused where largest_sub is 1).
struct NativeRow {
  std::span<std::int8_t> multiples;
  std::span<std::uint8_t> subs;
  float row_scale = 0;
};

/// Writes row `row` (0 … 15) of a panel whose rows have `cols` elements, n = cols rounded up to 64.
/// \pre the panel was cleared, or this row of it was written before.
void store_native_row(const NativeGrid& grid, const NativeRow& values, std::byte* panel,
                      std::int64_t cols, int row) noexcept;
/// The other way: fills `values`' spans. \return the row's scale.
float load_native_row(const NativeGrid& grid, const std::byte* panel, std::int64_t cols, int row,
                      const NativeRow& values) noexcept;

}  // namespace quern::quant
