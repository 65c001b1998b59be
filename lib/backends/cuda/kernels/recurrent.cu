// Causal convolutions and state-space scans, as kernels/scalar and backends/cpu/recurrent.cpp.
#include "backends/cuda/kernels/lane.cuh"
#include "backends/cuda/kernels/recurrent_args.h"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {
namespace {

QUERN_DEVICE float* rolling(const RollingArgs& state, const SequenceRecord& sequence) {
  return reinterpret_cast<float*>(sequence.cache + state.block_bytes * sequence.blocks +
                                  state.offset);
}

/// A row and column of a convolution, and where the column's last inputs stand, oldest first.
struct Column {
  const SequenceRecord& sequence;
  long long row, c;
  float* past;

  QUERN_DEVICE_MEMBER Column(const CausalConvArgs& args, long long item)
      : sequence(args.arrays.sequences[args.arrays.sequence[item / args.cols]]),
        row(item / args.cols),
        c(item % args.cols),
        past(rolling(args.state, sequence) + c * (args.kernel - 1)) {}
  /// The input `back` rows before `row`.
  QUERN_DEVICE_MEMBER float input(const CausalConvArgs& args, int back) const {
    const long long at = row - back, missing = at - sequence.first_row;
    return missing >= 0 ? args.x[at * args.cols + c] : past[args.kernel - 1 + missing];
  }
};

/// Numbers of a state that a lane of half a warp keeps.
constexpr int kLaneStates = kMostStateDim / 16;

QUERN_DEVICE float larger(float a, float b) { return a < b ? b : a; }
QUERN_DEVICE float smaller(float a, float b) { return b < a ? b : a; }

/// log(1 + e^x), clamped.
QUERN_DEVICE float step_size(const ScanArgs& args, long long row, int head) {
  const float dt = args.dt[row * args.heads + head];
  const float x = args.dt_bias == nullptr ? dt : dt + args.dt_bias[head];
  const float d = kernels::softplus_of(Lane{x}).v;
  return args.dt_min == args.dt_max ? d : smaller(larger(d, args.dt_min), args.dt_max);
}

/// One row of one column; number j = lane + 16k of the state is s[k]. \return the sum of s·c.
QUERN_DEVICE float scan_row(const ScanArgs& args, long long row, int head, float step, float x,
                            int lane, float (&s)[kLaneStates]) {
  const long long at = (row * args.groups + head / (args.heads / args.groups)) * args.n;
  const float* a = args.a + static_cast<long long>(head) * args.rates;
  const float rate = step * 1.44269504f;
  float sum = 0.0f;
  QUERN_UNROLL
  for (int k = 0; k < kLaneStates; ++k) {
    const int j = lane + 16 * k;
    if (j >= args.n) break;
    const float decay = kernels::exp2_of(Lane{rate * a[args.rates == 1 ? 0 : j]}).v;
    s[k] = __fmaf_rn(decay, s[k], (step * x) * args.b[at + j]);
    sum = __fmaf_rn(s[k], args.c[at + j], sum);
  }
  return tree_sum(sum);
}

}  // namespace

QUERN_KERNEL_BOUNDS(quern_causal_conv, CausalConvArgs, 256) {
  const long long item = flat_index();
  if (item >= args.rows * args.cols) return;
  const Column column(args, item);
  const float* w = args.weight + column.c * args.kernel;
  float sum = 0.0f;
  for (int j = 0; j < args.kernel; ++j) sum = sum + w[j] * column.input(args, args.kernel - 1 - j);
  args.out[item] = args.bias == nullptr ? sum : sum + args.bias[column.c];
}

/// The thread of a sequence's last row moves its column on.
QUERN_KERNEL_BOUNDS(quern_causal_conv_state, CausalConvArgs, 256) {
  const long long item = flat_index();
  if (item >= args.rows * args.cols) return;
  const Column column(args, item);
  if (column.row + 1 != column.sequence.end_row) return;
  for (int k = 0; k + 1 < args.kernel; ++k)
    column.past[k] = column.input(args, args.kernel - 2 - k);
}

/// The blocks of a sequence's first row walk all of its rows.
QUERN_KERNEL_BOUNDS(quern_scan, ScanArgs, kScanThreads) {
  const int first_row = static_cast<int>(blockIdx.y);
  const SequenceRecord& sequence = args.arrays.sequences[args.arrays.sequence[first_row]];
  if (sequence.first_row != first_row) return;
  const int lane = static_cast<int>(threadIdx.x) % 16, columns = args.heads * args.head_dim;
  const int own = static_cast<int>((blockIdx.x * kScanThreads + threadIdx.x) / 16);
  const int column = min(own, columns - 1);  // Both halves of a warp take part in its sums.
  const int head = column / args.head_dim;
  float* state = rolling(args.state, sequence) + static_cast<long long>(column) * args.n;
  float s[kLaneStates];
  QUERN_UNROLL
  for (int k = 0; k < kLaneStates; ++k) s[k] = lane + 16 * k < args.n ? state[lane + 16 * k] : 0.0f;
  for (long long row = first_row; row < sequence.end_row; ++row) {
    const long long at = row * columns + column;
    const float x = args.x[at];
    const float sum = scan_row(args, row, head, step_size(args, row, head), x, lane, s);
    if (lane == 0 && own == column) args.out[at] = __fmaf_rn(args.skip[head], x, sum);
  }
  if (own != column) return;
  QUERN_UNROLL
  for (int k = 0; k < kLaneStates; ++k) {
    if (lane + 16 * k < args.n) state[lane + 16 * k] = s[k];
  }
}

}  // namespace quern::backends::cuda
