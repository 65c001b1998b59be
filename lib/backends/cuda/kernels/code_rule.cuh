/// \file
/// Numbers as whole codes under a scale (kernels/scalar/parts.h, CodeScale).
#pragma once

#include "backends/cuda/kernels/hadamard.cuh"

namespace quern::backends::cuda {

/// A magnitude's bits: they order like magnitudes, and what is not finite lies above all others.
QUERN_DEVICE unsigned magnitude_bits(float x) { return __float_as_uint(x) & 0x7fffffffu; }

/// The largest magnitude of a warp's `lanes` lanes, in each of them. All of the warp call.
template <int lanes>
QUERN_DEVICE unsigned top_of_lanes(unsigned top) {
  for (int w = lanes / 2; w >= 1; w /= 2) top = max(top, __shfl_xor_sync(0xffffffffu, top, w));
  return top;
}

/// What turns numbers into whole codes.
struct CodeRule {
  float factor;  ///< 0: all codes are 0.
  float scale;   ///< NaN where the input is not finite.
};

/// The rule for numbers whose largest magnitude has the bits `top`.
QUERN_DEVICE CodeRule rule_of(unsigned top, float limit) {
  if (top >= 0x7f800000u) return {0.0f, __uint_as_float(0x7fc00000u)};
  const float most = __uint_as_float(top);
  const float factor = limit / most;
  const bool usable = __float_as_uint(factor) < 0x7f800000u;
  return {usable ? factor : 0.0f, most / limit};
}

/// The rule for n numbers of a warp's `lanes` lanes, `lane` the calling one. All of them call.
template <int lanes>
QUERN_DEVICE CodeRule code_rule(const float* x, int n, float limit, int lane) {
  unsigned top = 0;
  for (int d = lane; d < n; d += lanes) top = max(top, magnitude_bits(x[d]));
  return rule_of(top_of_lanes<lanes>(top), limit);
}

/// The rule for quant::hadamard_vector of n numbers, by a warp.
QUERN_DEVICE CodeRule rotated_rule(const float* x, int n, float limit, int lane) {
  unsigned top = 0;
  for (int b = 0; 64 * b < n; ++b) {
    float v[2];
    rotated_block(x, n, b, lane, v);
    top = max(top, max(magnitude_bits(v[0]), magnitude_bits(v[1])));
  }
  return rule_of(top_of_lanes<32>(top), limit);
}

/// rint(x·factor), ties to even; 0 for a factor of 0.
QUERN_DEVICE int code_of(float x, float factor) {
  return factor == 0.0f ? 0 : __float2int_rn(x * factor);
}

}  // namespace quern::backends::cuda
