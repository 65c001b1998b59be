// Packing of activation rows: int8 codes under one scale per 32, or per rotated row.
#include "backends/cuda/kernels/code_rule.cuh"
#include "backends/cuda/kernels/hadamard.cuh"
#include "backends/cuda/kernels/linear_args.h"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {
namespace {

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
      const int s =
          part_of(tile_number, args.segments, [&](int i) { return args.segment_tile[i]; });
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

/// A warp packs 32 elements of a row: blockIdx.x is the row, blocks of 8 warps go along k.
QUERN_KERNEL_BOUNDS(quern_pack_group, PackArgs, 256) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const long long record_number = 8ll * blockIdx.y + (threadIdx.x >> 5);
  if (32 * record_number >= args.cols || blockIdx.x >= tile_rows(args)) return;
  const PackedRow row(args, blockIdx.x);
  const float x = row.at(32 * record_number + lane, args.cols);
  const CodeRule rule = rule_of(top_of_lanes<32>(magnitude_bits(x)), 127.0f);
  const int code = code_of(x, rule.factor);
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
  __shared__ unsigned tops[8];
  if (blockIdx.x >= tile_rows(args)) return;
  const PackedRow row(args, blockIdx.x);
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  const long long blocks = (args.cols + 63) / 64;
  unsigned top = 0;
  for (long long b = warp; b < blocks; b += 8) {
    float v[2] = {row.at(64 * b + lane, args.cols), row.at(64 * b + 32 + lane, args.cols)};
    hadamard64(v, lane);
    top = max(top, max(magnitude_bits(v[0]), magnitude_bits(v[1])));
  }
  top = top_of_lanes<32>(top);
  if (lane == 0) tops[warp] = top;
  __syncthreads();
  for (int w = 0; w < 8; ++w) top = max(top, tops[w]);
  const CodeRule rule = rule_of(top, 127.0f);
  for (long long b = warp; b < blocks; b += 8) {
    float v[2] = {row.at(64 * b + lane, args.cols), row.at(64 * b + 32 + lane, args.cols)};
    hadamard64(v, lane);
    for (int h = 0; h < 2; ++h)
      row.store(row.tile + (2 * b + h) * kCodeRecord, lane, code_of(v[h], rule.factor));
  }
  if (threadIdx.x == 0)
    reinterpret_cast<float*>(row.tile + 2 * blocks * kCodeRecord)[row.place] = rule.scale;
}

}  // namespace quern::backends::cuda
