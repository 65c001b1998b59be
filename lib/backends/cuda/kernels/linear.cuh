/// \file
/// What the kernels of matrix products share: which rows and matrix a block works on, and how a sum
/// becomes a result.
#pragma once

#include "backends/cuda/kernels/codes.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace quern::backends::cuda {

/// The rows of one matrix: all of them, or of several matrices those of number blockIdx.z. Numbers
/// of rows, tiles and panels are kept in 32 bits: registers bound what a warp multiplies at a time.
struct Segment {
  int rows, first_row, first_tile;
  WeightArgs w;

  QUERN_DEVICE_MEMBER explicit Segment(const LinearArgs& args) : w(args.w) {
    rows = static_cast<int>(args.rows);
    first_row = first_tile = 0;
    if (args.segment_row == nullptr) return;
    const int s = static_cast<int>(blockIdx.z);
    first_row = args.segment_row[s];
    rows = args.segment_row[s + 1] - first_row;
    first_tile = args.segment_tile[s];
    w.data += s * w.matrix_bytes;
  }

  /// Writes the result of row t of the segment and output n, where there is one.
  QUERN_DEVICE_MEMBER void finish(const LinearArgs& args, int t, int n, float acc) const {
    if (t >= rows || n >= w.n) return;
    const long long matrix = args.segment_row == nullptr ? 0 : blockIdx.z;
    const float r = args.bias == nullptr ? acc : acc + args.bias[matrix * w.n + n];
    const long long at = static_cast<long long>(first_row + t) * w.n + n;
    args.y[at] = args.residual == nullptr ? r : args.residual[at] + r;
  }
  QUERN_DEVICE_MEMBER int panels() const { return static_cast<int>((w.n + 15) / 16); }
  QUERN_DEVICE_MEMBER int tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  QUERN_DEVICE_MEMBER const std::byte* tile(const LinearArgs& args, int number) const {
    return args.x + (first_tile + number) * args.tile_bytes;
  }
};

/// 16 rows and 32 of k of the weights as a fragment; C is Codes<E> or Rotated<E>.
template <class C>
QUERN_DEVICE void load_weights(const Panel& p, int block, const Place& at, unsigned (&a)[4]) {
  a[0] = C::word(p, block, at.row, at.four);
  a[1] = C::word(p, block, at.row + 8, at.four);
  a[2] = C::word(p, block, at.row, at.four + 4);
  a[3] = C::word(p, block, at.row + 8, at.four + 4);
}

/// 8 rows of activations and 32 of k as a fragment.
QUERN_DEVICE void load_activations(const std::byte* record, const Place& at, unsigned (&b)[2]) {
  const auto* words = reinterpret_cast<const unsigned*>(record);
  b[0] = words[8 * at.four + at.row];
  b[1] = words[8 * (at.four + 4) + at.row];
}

/// Warps of a block; with few rows they divide k, with many the tiles of the result.
inline constexpr int kWarps = 8;
/// Panels and tiles of rows that a warp multiplies where rows are many, and how the warps of a
/// block lie over them.
inline constexpr int kWarpPanels = 2, kWarpTiles = 4, kWarpsDown = 2;
static_assert(kManyPanels == kWarpPanels * kWarpsDown);
static_assert(kManyTiles == kWarpTiles * (kWarps / kWarpsDown));

/// The panels and tiles of the calling warp where rows are many.
struct WarpTile {
  const Segment& segment;
  int panel, tile;    ///< The first ones.
  int panels, tiles;  ///< How many there are; below 1: none.

  QUERN_DEVICE_MEMBER explicit WarpTile(const Segment& its_segment) : segment(its_segment) {
    const int warp = static_cast<int>(threadIdx.x) >> 5;
    panel = static_cast<int>(blockIdx.x) * kManyPanels + warp % kWarpsDown * kWarpPanels;
    tile = static_cast<int>(blockIdx.y) * kManyTiles + warp / kWarpsDown * kWarpTiles;
    panels = min(kWarpPanels, segment.panels() - panel);
    tiles = min(kWarpTiles, segment.tiles() - tile);
  }
  QUERN_DEVICE_MEMBER bool is_empty() const { return panels <= 0 || tiles <= 0; }
  // Where there are fewer the last one is taken again and its products dropped: no lane branches.
  QUERN_DEVICE_MEMBER Panel panel_at(int i) const {
    return Panel(segment.w, panel + min(i, panels - 1));
  }
  QUERN_DEVICE_MEMBER const std::byte* first_tile(const LinearArgs& args) const {
    return segment.tile(args, tile);
  }
  /// Bytes from the first tile to another.
  QUERN_DEVICE_MEMBER int to_tile(const LinearArgs& args, int j) const {
    return min(j, tiles - 1) * static_cast<int>(args.tile_bytes);
  }
  /// Finishes the products; \param value makes number r of the thread's part of those of panel i
  /// and tile j.
  template <class Value>
  QUERN_DEVICE_MEMBER void finish(const LinearArgs& args, const Place& at, Value value) const {
    QUERN_UNROLL
    for (int i = 0; i < kWarpPanels; ++i) {
      QUERN_UNROLL
      for (int j = 0; j < kWarpTiles; ++j) {
        if (i >= panels || j >= tiles) continue;
        QUERN_UNROLL
        for (int r = 0; r < 4; ++r) {
          segment.finish(args, (tile + j) * kTileRows + at.result_column(r),
                         (panel + i) * 16 + at.result_row(r), value(i, j, r));
        }
      }
    }
  }
};

}  // namespace quern::backends::cuda
