// Positions: rotary angles and rotations, sinusoids, ALiBi's column.
#include "backends/cuda/kernels/numbers.cuh"
#include "backends/cuda/kernels/row_args.h"
#include "backends/cuda/kernels/threads.cuh"
#include "base/sin_cos.h"

namespace quern::backends::cuda {
namespace {

QUERN_DEVICE float rounded_to_bf16(float x) { return bf16_to_f32(f32_to_bf16(x)); }

}  // namespace

QUERN_KERNEL_BOUNDS(quern_rope_angles, AnglesArgs, 256) {
  const long long at = flat_index();
  if (at >= args.rows * args.n) return;
  const long long row = at / args.n, i = at % args.n;
  const bool is_long = args.long_after > 0 && args.lengths[row] > args.long_after;
  const float angle =
      static_cast<float>(args.positions[row]) * (is_long ? args.long_inv_freq : args.inv_freq)[i];
  const base::SinCos both = base::sin_cos_of(static_cast<double>(angle));
  float* out = args.out + row * 2 * args.n;
  out[i] = static_cast<float>(both.cos) * args.factor;
  out[args.n + i] = static_cast<float>(both.sin) * args.factor;
}

QUERN_KERNEL_BOUNDS(quern_sinusoid, SinusoidArgs, 256) {
  const long long at = flat_index();
  if (at >= args.rows * args.n) return;
  const long long row = at / args.n, i = at % args.n;
  const base::SinCos both =
      base::sin_cos_of(static_cast<double>(args.positions[row]) / args.divisors[i]);
  float* out = args.out + row * 2 * args.n;
  out[i] = static_cast<float>(both.sin);
  out[args.n + i] = static_cast<float>(both.cos);
}

/// A thread turns one pair, or copies one of the columns behind them.
QUERN_KERNEL_BOUNDS(quern_rope, RopeArgs, 256) {
  const long long pairs = args.angle_cols / 2;
  const long long items = pairs + args.head_dim - args.angle_cols;
  const long long heads = args.cols / args.head_dim, at = flat_index();
  if (at >= args.rows * heads * items) return;
  const long long row = at / (heads * items), head = at / items % heads, i = at % items;
  const long long first = row * args.cols + head * args.head_dim;
  if (i >= pairs) {
    const long long d = first + args.angle_cols + (i - pairs);
    args.out[d] = args.x[d];
    return;
  }
  const float cos = args.angles[row * args.angle_cols + i];
  const float sin = args.angles[row * args.angle_cols + pairs + i];
  const long long at_a = first + (args.interleaved ? 2 * i : i);
  const long long at_b = first + (args.interleaved ? 2 * i + 1 : i + pairs);
  const float a = args.x[at_a], b = args.x[at_b];
  args.out[at_a] = __fmaf_rn(a, cos, -(b * sin));
  args.out[at_b] = __fmaf_rn(b, cos, a * sin);
}

QUERN_KERNEL_BOUNDS(quern_position_column, PositionColumnArgs, 256) {
  const long long dim = args.head_dim + 1, at = flat_index();
  if (at >= args.rows * args.heads * dim) return;
  const long long row = at / (args.heads * dim), head = at / dim % args.heads, d = at % dim;
  float value = 1.0f;
  if (d < args.head_dim) {
    value = args.x[(row * args.heads + head) * args.head_dim + d];
  } else if (args.slopes != nullptr) {
    const float position = static_cast<float>(args.positions[row]);
    value = rounded_to_bf16(rounded_to_bf16(args.slopes[head]) * rounded_to_bf16(position));
  }
  args.out[at] = value;
}

}  // namespace quern::backends::cuda
