// Packing of activation rows: int8 codes under one scale per 32, or per rotated row.
#include "backends/cuda/kernels/hadamard.cuh"
#include "backends/cuda/kernels/linear_args.h"

namespace quern::backends::cuda {
namespace {

constexpr float kLargest = 3.402823466e38f;

/// What turns numbers into codes; see the oracle's code_scale().
struct CodeScale {
  float factor, scale;

  /// \param finite whether all numbers are; `top` their largest magnitude.
  QUERN_DEVICE_MEMBER CodeScale(float top, bool finite) {
    const float all = 127.0f / top;
    factor = finite && all <= kLargest ? all : 0.0f;
    scale = finite ? top / 127.0f : __uint_as_float(0x7fc00000u);
  }
  QUERN_DEVICE_MEMBER int code(float x) const {
    return factor == 0.0f ? 0 : __float2int_rn(x * factor);
  }
};

/// The largest of a warp's magnitudes; `finite` becomes whether all of the warp's are.
QUERN_DEVICE float warp_top(float magnitude, bool& finite) {
  finite = __ballot_sync(0xffffffffu, !(magnitude <= kLargest)) == 0;
  for (int w = 16; w >= 1; w /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, magnitude, w);
    magnitude = magnitude < other ? other : magnitude;
  }
  return magnitude;
}

/// A row of the packed tiles: its tile, its place there, and where its numbers are.
struct PackedRow {
  std::byte* tile;
  const float* x;  ///< nullptr: a row of padding.
  int place;

  /// \param number counts the rows of all tiles.
  QUERN_DEVICE_MEMBER PackedRow(const PackArgs& args, long long number) {
    const long long tile_number = number / kTileRows;
    place = static_cast<int>(number % kTileRows);
    tile = args.out + tile_number * args.tile_bytes;
    long long row = number, end = args.rows;
    if (args.segment_row != nullptr) {
      int s = 0;
      while (s + 1 < args.segments && args.segment_tile[s + 1] <= tile_number) ++s;
      row = args.segment_row[s] + (tile_number - args.segment_tile[s]) * kTileRows + place;
      end = args.segment_row[s + 1];
    }
    x = row < end ? args.x + row * args.cols : nullptr;
  }
  /// Element k, padded with zeros.
  QUERN_DEVICE_MEMBER float at(long long k, long long cols) const {
    return x != nullptr && k < cols ? x[k] : 0.0f;
  }
  /// Stores the code of element k of a record's 32.
  QUERN_DEVICE_MEMBER void store(std::byte* record, int k, int code) const {
    record[(k / 4 * kTileRows + place) * 4 + k % 4] = static_cast<std::byte>(code & 255);
  }
};

/// Rows of all tiles, of all segments.
QUERN_DEVICE long long tile_rows(const PackArgs& args) {
  if (args.segment_row == nullptr) return (args.rows + kTileRows - 1) / kTileRows * kTileRows;
  const int last = args.segments - 1;
  const int rows = args.segment_row[last + 1] - args.segment_row[last];
  return (args.segment_tile[last] + (rows + kTileRows - 1) / kTileRows) * kTileRows;
}

}  // namespace

/// A warp packs 32 elements of a row: blocks of 8 warps along k, blockIdx.y the row.
QUERN_KERNEL_BOUNDS(quern_pack_group, PackArgs, 256) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const long long record_number = 8ll * blockIdx.x + (threadIdx.x >> 5);
  if (32 * record_number >= args.cols || blockIdx.y >= tile_rows(args)) return;
  const PackedRow row(args, blockIdx.y);
  const float x = row.at(32 * record_number + lane, args.cols);
  bool finite = true;
  const float top = warp_top(fabsf(x), finite);
  const CodeScale rule(top, finite);
  const int code = rule.code(x);
  std::byte* record = row.tile + record_number * kGroupRecord;
  row.store(record, lane, code);
  int sum = code;  // Of each half of the warp.
  for (int w = 8; w >= 1; w /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, w);
  if (lane == 0) reinterpret_cast<float*>(record + kCodeRecord)[row.place] = rule.scale;
  auto* sums = reinterpret_cast<short*>(record + kCodeRecord + 4 * kTileRows);
  if (lane % 16 == 0) sums[lane / 16 * kTileRows + row.place] = static_cast<short>(sum);
}

/// A block of 8 warps packs a row: first its largest magnitude is found, then its codes are made.
QUERN_KERNEL_BOUNDS(quern_pack_rotated, PackArgs, 256) {
  __shared__ float tops[8];
  __shared__ int finites[8];
  if (blockIdx.x >= tile_rows(args)) return;
  const PackedRow row(args, blockIdx.x);
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  const long long blocks = (args.cols + 63) / 64;
  float top = 0.0f;
  bool all_finite = true;
  for (long long b = warp; b < blocks; b += 8) {
    float v[2] = {row.at(64 * b + lane, args.cols), row.at(64 * b + 32 + lane, args.cols)};
    hadamard64(v, lane);
    for (int h = 0; h < 2; ++h) {
      const float magnitude = fabsf(v[h]);
      all_finite = all_finite && magnitude <= kLargest;
      top = top < magnitude ? magnitude : top;
    }
  }
  bool finite = true;
  top = warp_top(all_finite ? top : __uint_as_float(0x7f800000u), finite);
  if (lane == 0) {
    tops[warp] = top;
    finites[warp] = finite ? 1 : 0;
  }
  __syncthreads();
  for (int w = 0; w < 8; ++w) {
    top = top < tops[w] ? tops[w] : top;
    finite = finite && finites[w] != 0;
  }
  const CodeScale rule(top, finite);
  for (long long b = warp; b < blocks; b += 8) {
    float v[2] = {row.at(64 * b + lane, args.cols), row.at(64 * b + 32 + lane, args.cols)};
    hadamard64(v, lane);
    for (int h = 0; h < 2; ++h)
      row.store(row.tile + (2 * b + h) * kCodeRecord, lane, rule.code(v[h]));
  }
  if (threadIdx.x == 0)
    reinterpret_cast<float*>(row.tile + 2 * blocks * kCodeRecord)[row.place] = rule.scale;
}

}  // namespace quern::backends::cuda
