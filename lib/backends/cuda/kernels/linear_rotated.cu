// Matrix products of the native encodings: a row is one exact sum of whole numbers, so tensor cores
// may add in any order.
#include "backends/cuda/kernels/linear.cuh"

namespace quern::backends::cuda {
namespace {

/// Where the scales of a tile's rows lie, behind its codes.
QUERN_DEVICE const float* row_scales(const std::byte* tile, int blocks) {
  return reinterpret_cast<const float*>(tile + static_cast<long long>(blocks) * kCodeRecord);
}

/// Blocks of 32 of k that a warp has under way where rows are few: what it waits for is memory, and
/// a block is but 256 bytes of 4-bit codes. Codes in three streams need more registers each. That
/// two blocks of threads are enough is said to ptxas, which would wait for each load otherwise.
template <Encoding E>
inline constexpr int kDepth = E == Encoding::kQR3 || E == Encoding::kQR5 ? 6 : 8;

/// At most a tile of rows: a block has one panel, its warps divide k.
template <Encoding E>
QUERN_DEVICE void multiply_few(const LinearArgs& args) {
  __shared__ int sums[kWarps][128];
  const Segment segment(args);
  const int tile_number = static_cast<int>(blockIdx.y);
  if (tile_number >= segment.tiles()) return;
  const std::byte* tile = segment.tile(args, tile_number);
  const Panel panel(segment.w, blockIdx.x);
  const Place at;
  const int blocks = static_cast<int>((segment.w.k + 63) / 64 * 2);
  const int warp = static_cast<int>(threadIdx.x) >> 5;
  int d[4] = {};
  for (int first = warp; first < blocks; first += kWarps * kDepth<E>) {
    unsigned weights[kDepth<E>][4], codes[kDepth<E>][2];
    QUERN_UNROLL
    for (int i = 0; i < kDepth<E>; ++i) {
      // Beyond the end the last block comes again, times zeros: no load waits for a branch.
      const int b = min(first + i * kWarps, blocks - 1);
      load_weights<Rotated<E>>(panel, b, at, weights[i]);
      load_activations(tile + static_cast<long long>(b) * kCodeRecord, at, codes[i]);
      if (first + i * kWarps >= blocks) codes[i][0] = codes[i][1] = 0;
    }
    QUERN_UNROLL
    for (int i = 0; i < kDepth<E>; ++i) mma_s8(d, weights[i], codes[i]);
  }
  for (int i = 0; i < 4; ++i) sums[warp][16 * at.result_column(i) + at.result_row(i)] = d[i];
  __syncthreads();
  const int mine = static_cast<int>(threadIdx.x);
  if (mine >= 128) return;
  int sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += sums[w][mine];
  const int row = mine % 16, token = mine / 16;
  const float scale = Rotated<E>::scale(panel, row) * row_scales(tile, blocks)[token];
  segment.finish(args, tile_number * kTileRows + token, 16 * static_cast<int>(blockIdx.x) + row,
                 static_cast<float>(sum) * scale);
}

template <Encoding E>
QUERN_DEVICE void multiply_many(const LinearArgs& args) {
  const Segment segment(args);
  const WarpTile mine(segment);
  const Place at;
  const int blocks = static_cast<int>((segment.w.k + 63) / 64 * 2);
  if (mine.is_empty()) return;
  const std::byte* record = mine.first_tile(args);
  int offsets[kWarpTiles];
  for (int j = 0; j < kWarpTiles; ++j) offsets[j] = mine.to_tile(args, j);
  int d[kWarpPanels][kWarpTiles][4] = {};
  for (int b = 0; b < blocks; ++b, record += kCodeRecord) {
    unsigned codes[kWarpTiles][2], weights[kWarpPanels][4];
    QUERN_UNROLL
    for (int j = 0; j < kWarpTiles; ++j) load_activations(record + offsets[j], at, codes[j]);
    QUERN_UNROLL
    for (int i = 0; i < kWarpPanels; ++i)
      load_weights<Rotated<E>>(mine.panel_at(i), b, at, weights[i]);
    QUERN_UNROLL
    for (int i = 0; i < kWarpPanels; ++i) {
      QUERN_UNROLL
      for (int j = 0; j < kWarpTiles; ++j) mma_s8(d[i][j], weights[i], codes[j]);
    }
  }
  mine.finish(args, at, [&](int i, int j, int r) {
    const float* scales = row_scales(mine.first_tile(args) + mine.to_tile(args, j), blocks);
    return static_cast<float>(d[i][j][r]) *
           (Rotated<E>::scale(mine.panel_at(i), at.result_row(r)) * scales[at.result_column(r)]);
  });
}

}  // namespace

#define QUERN_ROTATED(name, encoding)                                           \
  QUERN_KERNEL_RESIDENT(quern_linear_few_##name, LinearArgs, 32 * kWarps, 2) {  \
    multiply_few<Encoding::encoding>(args);                                     \
  }                                                                             \
  QUERN_KERNEL_RESIDENT(quern_linear_many_##name, LinearArgs, 32 * kWarps, 2) { \
    multiply_many<Encoding::encoding>(args);                                    \
  }
QUERN_ROTATED(qr8, kQR8)
QUERN_ROTATED(qr6, kQR6)
QUERN_ROTATED(qr5, kQR5)
QUERN_ROTATED(qr4, kQR4)
QUERN_ROTATED(qr3, kQR3)

}  // namespace quern::backends::cuda
