// Rows of a table as float32: embeddings of tokens, positions and types, and whole tables.
#include "backends/cuda/kernels/codes.cuh"
#include "backends/cuda/kernels/hadamard.cuh"

namespace quern::backends::cuda {
namespace {

/// Which row of the table the step's row `row` takes.
QUERN_DEVICE long long table_row(const GatherArgs& args, long long row) {
  long long index = args.index == nullptr ? row : args.index[row];
  if (args.first >= 0) index = args.positions[row] == 0 ? args.first : args.index[row - 1];
  index += args.offset;
  if (index < args.w.n) return index;
  return args.last_beyond ? args.w.n - 1 : 0;
}

QUERN_DEVICE void put(const GatherArgs& args, long long row, long long k, float value) {
  if (k < args.w.k) args.out[row * args.w.k + k] = args.scale == 1.0f ? value : args.scale * value;
}

/// Element k % 4 of a word of int8 codes.
QUERN_DEVICE float code_in(unsigned word, int k) {
  return static_cast<float>(static_cast<signed char>((word >> (8 * (k & 3))) & 255u));
}

// In all of these blockIdx.x is the step's row, and a block of 64 threads makes 64 elements.

template <Encoding E>
QUERN_DEVICE void gather_float(const GatherArgs& args) {
  const long long at = table_row(args, blockIdx.x), k = 64ll * blockIdx.y + threadIdx.x;
  if (k >= args.w.k) return;
  const auto* panel =
      reinterpret_cast<const unsigned char*>(args.w.data) + at / 16 * args.w.panel_bytes;
  put(args, blockIdx.x, k, float_weight<E>(panel, 16 * k + at % 16));
}

template <Encoding E>
QUERN_DEVICE void gather_group(const GatherArgs& args) {
  using C = Codes<E>;
  const long long at = table_row(args, blockIdx.x), k = 64ll * blockIdx.y + threadIdx.x;
  if (k >= args.w.k) return;
  const Panel panel(args.w, at / 16);
  const int row = static_cast<int>(at % 16), place = static_cast<int>(k % 32);
  const int block = static_cast<int>(k / 32);
  const GroupScale scale = C::scale(panel, block, row, C::kHalves == 2 ? place / 16 : 0);
  const float v = code_in(C::word(panel, block, row, place / 4), place) * scale.dw;
  put(args, blockIdx.x, k, C::kMin ? v + scale.mw : v);
}

/// The first warp turns the 64 elements back.
template <Encoding E>
QUERN_DEVICE void gather_rotated(const GatherArgs& args) {
  if (threadIdx.x >= 32) return;
  const long long at = table_row(args, blockIdx.x);
  const int block = static_cast<int>(2 * blockIdx.y);
  const Panel panel(args.w, at / 16);
  const int row = static_cast<int>(at % 16), lane = static_cast<int>(threadIdx.x);
  const float scale = Rotated<E>::scale(panel, row);
  float v[2];
  for (int h = 0; h < 2; ++h)
    v[h] = code_in(Rotated<E>::word(panel, block + h, row, lane / 4), lane) * scale;
  hadamard64(v, lane);
  for (int h = 0; h < 2; ++h) put(args, blockIdx.x, 32 * (block + h) + lane, v[h]);
}

}  // namespace

/// A table that is plain float32.
QUERN_KERNEL_BOUNDS(quern_gather_plain, GatherArgs, 64) {
  const long long at = table_row(args, blockIdx.x), k = 64ll * blockIdx.y + threadIdx.x;
  if (k < args.w.k)
    put(args, blockIdx.x, k, reinterpret_cast<const float*>(args.w.data)[at * args.w.k + k]);
}

#define QUERN_GATHER(name, encoding, family)                 \
  QUERN_KERNEL_BOUNDS(quern_gather_##name, GatherArgs, 64) { \
    gather_##family<Encoding::encoding>(args);               \
  }
QUERN_GATHER(f32, kF32, float)
QUERN_GATHER(f16, kF16, float)
QUERN_GATHER(bf16, kBF16, float)
QUERN_GATHER(q4_0, kQ4_0, group)
QUERN_GATHER(q4_1, kQ4_1, group)
QUERN_GATHER(q5_0, kQ5_0, group)
QUERN_GATHER(q5_1, kQ5_1, group)
QUERN_GATHER(q8_0, kQ8_0, group)
QUERN_GATHER(q2_k, kQ2_K, group)
QUERN_GATHER(q3_k, kQ3_K, group)
QUERN_GATHER(q4_k, kQ4_K, group)
QUERN_GATHER(q5_k, kQ5_K, group)
QUERN_GATHER(q6_k, kQ6_K, group)
QUERN_GATHER(iq4_nl, kIQ4_NL, group)
QUERN_GATHER(iq4_xs, kIQ4_XS, group)
QUERN_GATHER(mxfp4, kMXFP4, group)
QUERN_GATHER(qr8, kQR8, rotated)
QUERN_GATHER(qr6, kQR6, rotated)
QUERN_GATHER(qr5, kQR5, rotated)
QUERN_GATHER(qr4, kQR4, rotated)
QUERN_GATHER(qr3, kQR3, rotated)

}  // namespace quern::backends::cuda
