/// \file
/// What threads of a grid ask: their number, whose part a number belongs to, and each other's sums
/// in the order of the law.
#pragma once

#include "backends/cuda/kernels/language.cuh"

namespace quern::backends::cuda {

/// The calling thread's number in a flat grid.
QUERN_DEVICE long long flat_index() {
  return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// The last of n parts, which begin at begin(0) <= begin(1) <= ..., that has begun at `number`.
/// \pre begin(0) <= number
template <class Begin>
QUERN_DEVICE int part_of(long long number, int n, Begin begin) {
  int low = 0, high = n;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (begin(middle) <= number ? low : high) = middle;
  }
  return low;
}

/// The sum of 16 virtual lanes by the fixed tree, right in the first lane of each half of a warp.
/// All lanes of the warp call.
QUERN_DEVICE float tree_sum(float lane) {
  for (int w = 8; w >= 1; w /= 2) lane = lane + __shfl_down_sync(0xffffffffu, lane, w, 16);
  return lane;
}

}  // namespace quern::backends::cuda
