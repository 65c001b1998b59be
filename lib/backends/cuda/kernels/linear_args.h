/// \file
/// Arguments of matrix products, packing and row lookups: shared by the processor's side and the
/// device's.
///
/// Packed rows lie in tiles of 8, missing rows being zero. A tile of kQ8Group32 is one record of
/// kGroupRecord bytes per 32 of k: codes int8 `[8 fours of k][8 rows][4]`, scales float32 `[8]`,
/// sums of codes per 16 int16 `[2][8]`. A tile of kQ8Rotated: per 32 of k (padded to 64) the codes
/// alone, and behind them scales float32 `[8]`. kF32 rows are read as they are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quern/encoding.h"

namespace quern::backends::cuda {

inline constexpr int kTileRows = 8;
inline constexpr int kCodeRecord = 256;   ///< Codes of 8 rows and 32 of k.
inline constexpr int kGroupRecord = 320;  ///< The same with scales and sums.

/// Panels and tiles of rows of one block where rows are many.
inline constexpr int kManyPanels = 4, kManyTiles = 16;

/// A matrix in panels (Layout::kPanel16).
struct WeightArgs {
  const std::byte* data;
  std::int64_t n, k;  ///< Rows and row length, unpadded.
  std::int64_t panel_bytes;
  std::int64_t matrix_bytes;  ///< From one of several matrices to the next.
  std::int32_t stream[4];     ///< Offsets in a panel.
};

/// y[t, n] = Σ_k w[n, k]·x[t, k] (+ bias[n]) (+ residual[t, n]).
struct LinearArgs {
  WeightArgs w;
  const std::byte* x;  ///< Packed rows; float encodings: float32 `[rows, k]`.
  std::int64_t tile_bytes;
  const float* bias;      ///< `[n]` or nullptr; with segments one for each matrix.
  const float* residual;  ///< `[rows, n]` or nullptr; may be y.
  float* y;
  std::int64_t rows;
  /// Where several matrices multiply rows sorted by matrix (experts): first row of each, and first
  /// tile. nullptr: one matrix.
  const std::int32_t* segment_row;
  const std::int32_t* segment_tile;
};

struct PackArgs {
  const float* x;  ///< `[rows, cols]`
  std::byte* out;
  std::int64_t rows, cols, tile_bytes;
  /// As LinearArgs; the rows of a segment are `segment_row[s] …`, its tiles `segment_tile[s] …`.
  const std::int32_t* segment_row;
  const std::int32_t* segment_tile;
  std::int32_t segments;
};

/// Which row of a table a row of the step looks up.
struct GatherArgs {
  WeightArgs w;
  const std::int32_t* index;  ///< `[rows]`; nullptr: the row itself.
  std::int64_t rows;
  std::int64_t offset;  ///< Added to the index.
  bool last_beyond;     ///< An index beyond the table: its last row; else row 0.
  /// ≥ 0: a row takes the index of the row before it, the first of a sequence (position 0) this.
  std::int64_t first;
  const std::int32_t* positions;  ///< `[rows]`
  float scale;                    ///< 1: none.
  float* out;                     ///< `[rows, k]`
};

}  // namespace quern::backends::cuda
