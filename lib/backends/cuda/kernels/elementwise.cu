// One element after the other: activations, sums, factors, copies of rows and columns.
#include "backends/cuda/kernels/lane.cuh"
#include "backends/cuda/kernels/row_args.h"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {
namespace {

QUERN_DEVICE float combine(const ElementwiseArgs& args, long long i) {
  const float a = args.a[i];
  switch (args.kind) {
    case Elementwise::kActivation:
      return activate(args.activation, a);
    case Elementwise::kGlu:
      return activate(args.activation, a) * args.b[i];
    case Elementwise::kAdd:
      return a + args.b[i];
    case Elementwise::kMul:
      return a * args.b[i];
    case Elementwise::kScale:
      return args.number * a;
    case Elementwise::kClamp: {
      const float v = a < -args.number ? -args.number : a;
      return args.number < v ? args.number : v;
    }
    case Elementwise::kSoftcap:
      break;
  }
  return args.number * kernels::tanh_of(Lane{a / args.number}).v;
}

}  // namespace

QUERN_KERNEL_BOUNDS(quern_elementwise, ElementwiseArgs, 256) {
  const long long i = flat_index();
  if (i < args.n) args.out[i] = combine(args, i);
}

QUERN_KERNEL_BOUNDS(quern_scale_rows, ScaleArgs, 256) {
  const long long i = flat_index();
  if (i < args.rows * args.cols) args.out[i] = args.factor[i / args.cols] * args.x[i];
}

QUERN_KERNEL_BOUNDS(quern_scale_columns, ScaleArgs, 256) {
  const long long i = flat_index();
  if (i < args.rows * args.cols) args.out[i] = args.x[i] * args.factor[i % args.cols];
}

QUERN_KERNEL_BOUNDS(quern_copy, CopyArgs, 256) {
  const long long i = flat_index();
  if (i >= args.rows * args.cols) return;
  const long long t = i / args.cols;
  const long long row = args.index == nullptr ? t : args.index[t];
  args.out[i] = args.x[row * args.all + args.first + i % args.cols];
}

QUERN_KERNEL_BOUNDS(quern_mix, MixArgs, 256) {
  const long long i = flat_index();
  if (i >= args.rows * args.cols) return;
  const float factor = args.factors[i / args.cols * args.factor_cols + args.at] + args.offset;
  args.out[i] = __fmaf_rn(factor, args.x[i], args.base[i]);
}

QUERN_KERNEL_BOUNDS(quern_join_heads, JoinHeadsArgs, 256) {
  const long long dim = args.a_dim + args.b_dim, i = flat_index();
  if (i >= args.rows * args.heads * dim) return;
  const long long row = i / (args.heads * dim), head = i / dim % args.heads, d = i % dim;
  const long long a_step = args.a_cols == args.a_dim ? 0 : args.a_dim;
  args.out[i] = d < args.a_dim ? args.a[row * args.a_cols + head * a_step + d]
                               : args.b[(row * args.heads + head) * args.b_dim + d - args.a_dim];
}

/// The mean adds rows in their order, then multiplies by 1/n.
QUERN_KERNEL_BOUNDS(quern_pool, PoolArgs, 256) {
  const long long i = flat_index();
  if (i >= args.sequences * args.cols) return;
  const long long sequence = i / args.cols, c = i % args.cols;
  const int first = args.starts[sequence], last = args.starts[sequence + 1];
  float sum = args.x[(args.last ? last - 1 : first) * args.cols + c];
  if (args.mean) {
    for (long long row = first + 1; row < last; ++row) sum = sum + args.x[row * args.cols + c];
    sum = 1.0f / static_cast<float>(last - first) * sum;
  }
  args.out[i] = sum;
}

}  // namespace quern::backends::cuda
