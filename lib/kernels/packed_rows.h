/// \file
/// The packing of activation rows (private to lib/kernels): where a row's numbers lie.
///
/// Rows are cut into subtiles of 8, and the rest of fewer than 8 into one each of 4, 2, 1, so every
/// kernel has a width W known when it is compiled. A subtile of W rows begins at (its first
/// row)·bytes_per_row and holds, t being the row in the subtile:
/// - kF32: `[K][W]` float32.
/// - kQ8Group32, per 32 of k one record of 60·W bytes: codes int8 `[8][W][4]` (k = 4kk+i), scale
///   f32 `[W]`, −128·Σ32 int32 `[W]`, −128·Σ16 int32 `[2][W]`, scale·Σ32 f32 `[W]`, scale·Σ16 f32
///   `[2][W]`, Σ being sums of codes.
/// - kQ8Rotated, per 32 of k one record of 36·W bytes: codes as above, sums of codes per 16 as
/// int16
///   `[W][2]`; after the last record scale f32 `[W]` and the sum of the row's codes int32 `[W]`.
#pragma once

#include <cstdint>

namespace quern::kernels {
namespace {

constexpr std::int64_t kGroupRecord = 60;    ///< Bytes per row and 32 elements of k.
constexpr std::int64_t kRotatedRecord = 36;  ///< Bytes per row and 32 elements of k.

// Where a kQ8Group32 record holds what follows its codes, in bytes per row.
constexpr std::int64_t kGroupScale = 32, kGroupStart = 36, kGroupHalfStarts = 40, kGroupSum = 48,
                       kGroupHalfSums = 52;

inline constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// \return the width of the subtile that begins where `remaining` rows are left.
inline constexpr std::int64_t subtile_width(std::int64_t remaining) {
  return remaining >= 8 ? 8 : remaining >= 4 ? 4 : remaining >= 2 ? 2 : 1;
}

inline constexpr std::int64_t f32_row_bytes(std::int64_t k) { return 4 * k; }
inline constexpr std::int64_t group_row_bytes(std::int64_t k) {
  return round_up(k, 32) / 32 * kGroupRecord;
}
inline constexpr std::int64_t rotated_row_bytes(std::int64_t k) {
  return round_up(k, 64) / 32 * kRotatedRecord + 8;
}

/// Rows of kQ8Rotated that a kernel may lay out anew in its scratch at once: a multiple of 32,
/// together at most 384 KiB where K allows.
inline constexpr std::int64_t rotated_block_rows(std::int64_t k) {
  const std::int64_t rows = 393216 / round_up(k, 64) / 32 * 32;
  return rows < 32 ? 32 : rows < 256 ? rows : 256;
}

}  // namespace
}  // namespace quern::kernels
