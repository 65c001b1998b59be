/// \file
/// The block-64 Hadamard rotation (lib/quant/registry.h) by a warp, or by one thread.
#pragma once

#include "backends/cuda/kernels/language.cuh"

namespace quern::backends::cuda {

/// Element `lane` in v[0], element 32 + lane in v[1]. Stages of stride 1, 2, … 32, then 1/8.
QUERN_DEVICE void hadamard64(float (&v)[2], int lane) {
  for (int stride = 1; stride <= 16; stride *= 2) {
    for (int h = 0; h < 2; ++h) {
      const float other = __shfl_xor_sync(0xffffffffu, v[h], stride);
      v[h] = (lane & stride) == 0 ? v[h] + other : other - v[h];
    }
  }
  const float sum = v[0] + v[1], difference = v[0] - v[1];
  v[0] = sum * 0.125f;
  v[1] = difference * 0.125f;
}

}  // namespace quern::backends::cuda
