// What a device can do at most: int8 products in registers, and reading its memory.
#include "backends/cuda/kernels/tensor_core.cuh"
#include "bench/device_kernels.h"

namespace quern::bench {

/// Each warp multiplies fragments that stay in registers: 8 independent sums.
QUERN_KERNEL_BOUNDS(bench_int8_peak, PeakArgs, 256) {
  const unsigned lane = threadIdx.x;
  unsigned a[4] = {lane, lane + 1, lane + 2, lane + 3}, b[2] = {lane + 4, lane + 5};
  int d[8][4] = {};
  for (int round = 0; round < args.rounds; ++round) {
    QUERN_UNROLL
    for (int i = 0; i < 8; ++i) backends::cuda::mma_s8(d[i], a, b);
  }
  int sum = 0;
  QUERN_UNROLL
  for (int i = 0; i < 8; ++i) sum += d[i][0] + d[i][1] + d[i][2] + d[i][3];
  if (sum == 123456789) args.out[blockIdx.x] = sum;
}

/// Takes the time of a launch alone.
QUERN_KERNEL_BOUNDS(bench_nothing, NothingArgs, 32) {
  if (threadIdx.x >= 32) args.out[0] = 0;
}

/// Reads every word once, neighbours by neighbours.
QUERN_KERNEL_BOUNDS(bench_read, ReadArgs, 256) {
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x * 4;
  unsigned sum = 0;
  for (long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
       i < args.words; i += step) {
    const uint4 four = *reinterpret_cast<const uint4*>(args.from + i);
    sum += four.x ^ four.y ^ four.z ^ four.w;
  }
  if (sum == 123456789u) args.out[blockIdx.x] = static_cast<int>(sum);
}

}  // namespace quern::bench
