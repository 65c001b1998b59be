// Choosing experts, as backends/cpu/route.cpp: the best in falling order, the first of equal ones
// first.
#include "backends/cuda/kernels/lane.cuh"
#include "backends/cuda/kernels/mixture_args.h"
#include "backends/cuda/kernels/threads.cuh"

namespace quern::backends::cuda {
namespace {

// Below every score, and below those that are out of the choice.
constexpr float kDropped = -1e30f;
constexpr float kNever = -3e38f;

QUERN_DEVICE float larger(float a, float b) { return a < b ? b : a; }
QUERN_DEVICE float smaller(float a, float b) { return b < a ? b : a; }

/// The softmax of kernels::KernelTable by a warp, whose halves do the same.
QUERN_DEVICE void softmax(const float* x, int n, int lane, float* out) {
  const int virtual_lane = lane % 16;
  float top = __uint_as_float(0xff800000u), sum = 0.0f;
  for (int i = virtual_lane; i < n; i += 16) top = larger(top, x[i]);
  for (int w = 8; w >= 1; w /= 2) top = larger(top, __shfl_xor_sync(0xffffffffu, top, w));
  for (int i = virtual_lane; i < n; i += 16) {
    const float e = kernels::exp_of(Lane{x[i] - top}).v;
    if (lane < 16) out[i] = e;
    sum = sum + e;
  }
  sum = tree_sum(sum);
  const float r = 1.0f / __shfl_sync(0xffffffffu, sum, 0);
  __syncwarp();
  for (int i = lane; i < n; i += 32) out[i] = out[i] * r;
}

/// Number of the first of the largest of x; NaN counts only where it comes first.
QUERN_DEVICE int first_largest(const float* x, int n, int lane) {
  const float first = x[0];
  if (!(first == first)) return 0;
  float top = first;
  int at = 0;
  for (int i = lane; i < n; i += 32) {
    if (top < x[i]) {
      top = x[i];
      at = i;
    }
  }
  for (int w = 16; w >= 1; w /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, top, w);
    const int its = __shfl_xor_sync(0xffffffffu, at, w);
    if (top < other || (top == other && its < at)) {
      top = other;
      at = its;
    }
  }
  return at;
}

/// Its best expert, or the sum of its best two.
QUERN_DEVICE float group_score(const float* rank, int size, bool by_two) {
  float first = kNever, second = kNever;
  for (int i = 0; i < size; ++i) {
    second = larger(second, smaller(first, rank[i]));
    first = larger(first, rank[i]);
  }
  return by_two && size > 1 ? first + second : first;
}

/// Only the best groups of neighbouring experts stay in the choice.
QUERN_DEVICE void drop_groups(const RouteArgs& args, float* rank, float* groups, int lane) {
  const int size = args.experts / args.groups;
  for (int g = lane; g < args.groups; g += 32)
    groups[g] = group_score(rank + g * size, size, args.group_by_two);
  for (int kept = 0; kept < args.used_groups; ++kept) {
    __syncwarp();
    const int best = first_largest(groups, args.groups, lane);
    __syncwarp();
    if (lane == 0) groups[best] = kNever;
  }
  __syncwarp();
  for (int e = lane; e < size * args.groups; e += 32) {
    if (groups[e / size] != kNever) rank[e] = kDropped;
  }
}

}  // namespace

QUERN_KERNEL_BOUNDS(quern_route, RouteArgs, kRouteThreads) {
  QUERN_DYNAMIC_SHARED(memory);
  const int lane = static_cast<int>(threadIdx.x), n = args.experts;
  const float* x = args.x + static_cast<long long>(blockIdx.x) * n;
  float* scores = reinterpret_cast<float*>(memory);
  float* rank = scores + n;
  if (args.sigmoid) {
    for (int e = lane; e < n; e += 32)
      scores[e] = kernels::activate<kernels::Activation::kSigmoid>(Lane{x[e]}).v;
  } else {
    softmax(x, n, lane, scores);
  }
  __syncwarp();
  for (int e = lane; e < n; e += 32)
    rank[e] = scores[e] + (args.bias == nullptr ? 0.0f : args.bias[e]);
  __syncwarp();
  if (args.used_groups < args.groups) drop_groups(args, rank, rank + n, lane);
  float* out = args.out + static_cast<long long>(blockIdx.x) * 2 * args.used;
  float sum = 0.0f;
  for (int i = 0; i < args.used; ++i) {
    __syncwarp();
    const int best = first_largest(rank, n, lane);
    __syncwarp();
    sum = sum + scores[best];
    if (lane != 0) continue;
    rank[best] = kNever;
    out[i] = static_cast<float>(best);
    out[args.used + i] = scores[best];
  }
  const float factor = args.normalise ? args.scale / sum : args.scale;
  if (lane != 0) return;
  for (int i = 0; i < args.used; ++i) out[args.used + i] = out[args.used + i] * factor;
}

}  // namespace quern::backends::cuda
