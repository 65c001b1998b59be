// Causal convolutions and state-space scans, as kernels/scalar and backends/cpu/recurrent.cpp.
#include "backends/cuda/kernels/lane.cuh"
#include "backends/cuda/kernels/recurrent_args.h"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {
namespace {

QUERN_DEVICE float* rolling(std::int64_t state, const SequenceRecord& sequence) {
  return reinterpret_cast<float*>(sequence.cache + state);
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
        past(rolling(args.state, sequence) + c) {}
  /// The input `back` rows before `row`.
  QUERN_DEVICE_MEMBER float input(const CausalConvArgs& args, int back) const {
    const long long at = row - back, missing = at - sequence.first_row;
    return missing >= 0 ? args.x[at * args.cols + c] : past[(args.kernel - 1 + missing) * args.cols];
  }
};

QUERN_DEVICE float larger(float a, float b) { return a < b ? b : a; }
QUERN_DEVICE float smaller(float a, float b) { return b < a ? b : a; }

/// log(1 + e^x), clamped.
QUERN_DEVICE float step_size(const ScanArgs& args, long long row, int head) {
  const float dt = args.dt[row * args.heads + head];
  const float x = args.dt_bias == nullptr ? dt : dt + args.dt_bias[head];
  const float d = kernels::softplus_of(Lane{x}).v;
  return args.dt_min == args.dt_max ? d : smaller(larger(d, args.dt_min), args.dt_max);
}

/// What a thread of a scan keeps: eight numbers of a column's state.
struct ScanThread {
  const ScanArgs& args;
  int head, first, count;  ///< Numbers [first, first + count).
  long long column;        ///< Of x.
  long long at;            ///< Of b and c: the group's numbers of row 0.
  float s[kScanSum], scale;

  QUERN_DEVICE_MEMBER float decay(float step, int j) const {
    const float rate = args.a[static_cast<long long>(head) * args.rates + j];
    return kernels::exp2_decay(Lane{(step * 1.44269504f) * rate}).v;
  }
  /// Takes a row. \return the sum of its own numbers.
  QUERN_DEVICE_MEMBER float row(long long t, float x) {
    const float step = step_size(args, t, head);
    float weight = step * x, shrink = 1.0f;
    if (args.rates == 1) {
      scale = scale * decay(step, 0);
      if (scale < kernels::kScanLeastScale) {
        shrink = scale;
        scale = 1.0f;
      }
      weight = (step / scale) * x;
    }
    const long long numbers = t * args.groups * args.n + at;
    float sum = 0.0f;
    QUERN_UNROLL
    for (int k = 0; k < kScanSum; ++k) {
      if (k >= count) break;
      const float b = args.b[numbers + first + k];
      s[k] = args.rates == 1
                 ? __fmaf_rn(weight, b, s[k] * shrink)
                 : __fmaf_rn(decay(step, first + k), s[k], weight * b);
      sum = __fmaf_rn(s[k], args.c[numbers + first + k], sum);
    }
    return sum;
  }
};

/// 0 plus the sums of eights of a row, in order. \param sums `[eights, kScanBlock]`.
QUERN_DEVICE float sum_of_eights(const float* sums, int eights) {
  float sum = 0.0f;
  for (int i = 0; i < eights; ++i) sum = sum + sums[i * kScanBlock];
  return sum;
}

}  // namespace

QUERN_KERNEL_BOUNDS(quern_causal_conv, CausalConvArgs, 256) {
  const long long item = flat_index();
  if (item >= args.rows * args.cols) return;
  const Column column(args, item);
  const float* w = args.weight + column.c * args.kernel;
  float sum = args.bias == nullptr ? 0.0f : args.bias[column.c];
  for (int j = 0; j < args.kernel; ++j)
    sum = __fmaf_rn(w[j], column.input(args, args.kernel - 1 - j), sum);
  args.out[item] = sum;
}

/// The thread of a sequence's last row moves its column on.
QUERN_KERNEL_BOUNDS(quern_causal_conv_state, CausalConvArgs, 256) {
  const long long item = flat_index();
  if (item >= args.rows * args.cols) return;
  const Column column(args, item);
  if (column.row + 1 != column.sequence.end_row) return;
  for (int k = 0; k + 1 < args.kernel; ++k)
    column.past[k * args.cols] = column.input(args, args.kernel - 2 - k);
}

/// The blocks of a sequence's first row walk all of its rows: a block takes kScanBlock columns of a
/// group, a thread eight numbers of one. They meet every few rows to add their sums.
QUERN_KERNEL_BOUNDS(quern_scan, ScanArgs, kMostScanThreads) {
  QUERN_DYNAMIC_SHARED(memory);
  float* const sums = reinterpret_cast<float*>(memory);  // [kScanRows, eights, kScanBlock]
  const int first_row = static_cast<int>(blockIdx.x);
  const SequenceRecord& sequence = args.arrays.sequences[args.arrays.sequence[first_row]];
  if (sequence.first_row != first_row) return;
  const int lane = static_cast<int>(threadIdx.x) % kScanBlock;
  const int eight = static_cast<int>(threadIdx.x) / kScanBlock, eights = args.eights();
  const int columns = args.heads / args.groups * args.head_dim;  // Of a group.
  const int blocks = (columns + kScanBlock - 1) / kScanBlock;
  const int group = static_cast<int>(blockIdx.y) / blocks;
  const int own = static_cast<int>(blockIdx.y) % blocks * kScanBlock + lane;
  const bool real = own < columns;
  const long long column = static_cast<long long>(group) * columns + min(own, columns - 1);
  const int head = static_cast<int>(column / args.head_dim);
  const int scales = args.rates == 1 ? 1 : 0;
  float* const state =
      rolling(args.state, sequence) +
      static_cast<long long>(blockIdx.y) * (args.n + scales) * kScanBlock + lane;
  ScanThread thread{args,   head, eight * kScanSum, min(kScanSum, args.n - eight * kScanSum),
                    column, static_cast<long long>(group) * args.n, {}, 0.0f};
  float* const numbers = state + (scales + thread.first) * kScanBlock;
  if (scales == 1) thread.scale = *state;
  QUERN_UNROLL
  for (int k = 0; k < kScanSum; ++k) thread.s[k] = k < thread.count ? numbers[k * kScanBlock] : 0.0f;
  const long long width = static_cast<long long>(args.heads) * args.head_dim;
  for (long long row = first_row; row < sequence.end_row; row += kScanRows) {
    const int rows = static_cast<int>(min(static_cast<long long>(kScanRows),
                                          sequence.end_row - row));
    __syncthreads();
    float scale[kScanRows];
    QUERN_UNROLL
    for (int i = 0; i < kScanRows; ++i) {
      if (i >= rows) break;
      sums[(i * eights + eight) * kScanBlock + lane] =
          thread.row(row + i, args.x[(row + i) * width + column]);
      scale[i] = thread.scale;
    }
    __syncthreads();
    QUERN_UNROLL
    for (int i = 0; i < kScanRows; ++i) {
      if (i >= rows || i % eights != eight || !real) continue;
      const long long at = (row + i) * width + column;
      float y = sum_of_eights(sums + i * eights * kScanBlock + lane, eights);
      if (scales == 1) y = scale[i] * y;
      args.out[at] = __fmaf_rn(args.skip[head], args.x[at], y);
    }
  }
  if (!real) return;
  if (scales == 1 && eight == 0) *state = thread.scale;
  QUERN_UNROLL
  for (int k = 0; k < kScanSum; ++k) {
    if (k < thread.count) numbers[k * kScanBlock] = thread.s[k];
  }
}

}  // namespace quern::backends::cuda
