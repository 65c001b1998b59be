/// \file
/// What threads of a grid ask each other: their number, and sums in the order of the law.
#pragma once

#include "backends/cuda/kernels/language.cuh"

namespace quern::backends::cuda {

/// The calling thread's number in a flat grid.
QUERN_DEVICE long long flat_index() {
  return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// The sum of 16 virtual lanes by the fixed tree, right in the first lane of each half of a warp.
/// All lanes of the warp call.
QUERN_DEVICE float tree_sum(float lane) {
  for (int w = 8; w >= 1; w /= 2) lane = lane + __shfl_down_sync(0xffffffffu, lane, w, 16);
  return lane;
}

}  // namespace quern::backends::cuda
