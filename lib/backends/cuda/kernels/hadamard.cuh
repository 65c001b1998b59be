/// \file
/// Hadamard rotations (lib/quant/registry.h) by a warp.
#pragma once

#include "backends/cuda/kernels/language.cuh"

namespace quern::backends::cuda {

/// The stages of stride 1, 2, … `last` over the lanes.
QUERN_DEVICE float butterflies(float x, int last, int lane) {
  for (int stride = 1; stride <= last; stride *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, x, stride);
    x = (lane & stride) == 0 ? x + other : other - x;
  }
  return x;
}

/// Element `lane` in v[0], element 32 + lane in v[1]. Stages of stride 1, 2, … 32, then 1/8.
QUERN_DEVICE void hadamard64(float (&v)[2], int lane) {
  for (float& x : v) x = butterflies(x, 16, lane);
  const float sum = v[0] + v[1], difference = v[0] - v[1];
  v[0] = sum * 0.125f;
  v[1] = difference * 0.125f;
}

/// Elements 64b + lane and 64b + 32 + lane of quant::hadamard_vector of x, zeros beyond n.
QUERN_DEVICE void rotated_block(const float* x, int n, int b, int lane, float (&v)[2]) {
  const int rest = n - 64 * b;
  for (int h = 0; h < 2; ++h) v[h] = 32 * h + lane < rest ? x[64 * b + 32 * h + lane] : 0.0f;
  if (rest >= 64) {
    hadamard64(v, lane);
    return;
  }
  if (rest >= 32) v[0] = butterflies(v[0], 16, lane) * 0.17677670f;
  if (rest % 32 < 16) return;
  // Not v[rest / 32]: what is indexed by a number that comes late lies in memory.
  const bool upper = rest >= 32;
  const float rotated = butterflies(upper ? v[1] : v[0], 8, lane) * 0.25f;
  if (lane >= 16) return;
  if (upper) {
    v[1] = rotated;
  } else {
    v[0] = rotated;
  }
}

}  // namespace quern::backends::cuda
