// Norms: sums by 16 virtual lanes in order, then the fixed tree.
#include "backends/cuda/kernels/lane.cuh"
#include "backends/cuda/kernels/row_args.h"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {
namespace {

QUERN_DEVICE float plain_sum(const float* x, long long n) {
  float sum = 0.0f;
  for (long long i = threadIdx.x; threadIdx.x < 16 && i < n; i += 16) sum = sum + x[i];
  return tree_sum(sum);
}

QUERN_DEVICE float square_sum(const float* x, float minus, long long n) {
  float sum = 0.0f;
  for (long long i = threadIdx.x; threadIdx.x < 16 && i < n; i += 16) {
    const float d = x[i] - minus;
    sum = __fmaf_rn(d, d, sum);
  }
  return tree_sum(sum);
}

/// What is taken from every element, and what the rest is multiplied with.
struct Shift {
  float minus, factor;
};

/// By the first warp; right in its first lane.
QUERN_DEVICE Shift shift_of(const NormArgs& args, const float* x, long long first) {
  const long long n = args.group;
  const float count = static_cast<float>(n);
  if (args.kind == Norm::kRms)
    return {0.0f, 1.0f / __fsqrt_rn(square_sum(x, 0.0f, n) / count + args.number)};
  if (args.kind == Norm::kMagnitude) {
    const float own = square_sum(x, 0.0f, n) / count;
    const float wanted = square_sum(args.like + first, 0.0f, n) / count;
    return {0.0f, __fsqrt_rn(wanted) / __fsqrt_rn(own < args.number ? args.number : own)};
  }
  const float mean = __shfl_sync(0xffffffffu, plain_sum(x, n) / count, 0);
  const float variance = square_sum(x, mean, n) / count;
  if (args.kind == Norm::kCutoff) return {mean + __fsqrt_rn(variance) * args.number, 1.0f};
  return {mean, 1.0f / __fsqrt_rn(variance + args.number)};
}

QUERN_DEVICE float normed(const NormArgs& args, const Shift& shift, float x, long long column,
                          long long in_group) {
  const long long w = args.weight_shared ? in_group : column;
  switch (args.kind) {
    case Norm::kRms: {
      const float v = x * shift.factor;
      return args.weight == nullptr ? v : v * args.weight[w];
    }
    case Norm::kMagnitude:
      return shift.factor * x;
    case Norm::kCutoff:
      return activate(kernels::Activation::kRelu, x - shift.minus);
    case Norm::kLayer:
      break;
  }
  const float bias = args.bias == nullptr ? 0.0f : args.bias[args.bias_shared ? in_group : column];
  return __fmaf_rn((x - shift.minus) * shift.factor, args.weight == nullptr ? 1.0f : args.weight[w],
                   bias);
}

}  // namespace

/// A block of 128 threads a group: blockIdx.y in the row, blockIdx.x the row.
QUERN_KERNEL_BOUNDS(quern_norm, NormArgs, 128) {
  __shared__ Shift shared;
  const long long column = static_cast<long long>(blockIdx.y) * args.group;
  const long long first = static_cast<long long>(blockIdx.x) * args.cols + column;
  if (threadIdx.x < 32) {
    const Shift own = shift_of(args, args.x + first, first);
    if (threadIdx.x == 0) shared = own;
  }
  __syncthreads();
  const Shift shift = shared;
  for (long long i = threadIdx.x; i < args.group; i += 128)
    args.out[first + i] = normed(args, shift, args.x[first + i], column + i, i);
}

}  // namespace quern::backends::cuda
