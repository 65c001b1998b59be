/// \file
/// Numbers of 16 bits and their float32, IEEE round to nearest even; NaN stays NaN.
#pragma once

#include "backends/cuda/kernels/language.cuh"

namespace quern::backends::cuda {

#if !defined(QUERN_CUDA_EMULATED)

QUERN_DEVICE float f16_to_f32(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

QUERN_DEVICE unsigned short f32_to_f16(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

#else

QUERN_DEVICE float f16_to_f32(unsigned short bits) {
  const unsigned sign = (bits & 0x8000u) << 16;
  const unsigned rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  // The exponent's bias is moved by a product that is exact, for denormal numbers too.
  return __uint_as_float(sign | __float_as_uint(__uint_as_float(rest << 13) * 0x1p112f));
}

/// The magnitude's bits are cut where float16 ends and rounded by what is cut off.
QUERN_DEVICE unsigned short f32_to_f16(float value) {
  const unsigned all = __float_as_uint(value);
  const unsigned sign = (all >> 16) & 0x8000u;
  const unsigned rest = all & 0x7fffffffu;
  if (rest > 0x7f800000u) return static_cast<unsigned short>(sign | 0x7e00u);
  if (rest >= 0x477ff000u) return static_cast<unsigned short>(sign | 0x7c00u);
  if (rest < 0x38800000u) {  // Denormal or zero: rounded by adding ½ at the place of its last bit.
    const float shifted = __uint_as_float(rest) + 0.5f;
    return static_cast<unsigned short>(sign | (__float_as_uint(shifted) - 0x3f000000u));
  }
  const unsigned odd = (rest >> 13) & 1u;
  return static_cast<unsigned short>(sign | ((rest - 0x38000000u + 0xfffu + odd) >> 13));
}

#endif

QUERN_DEVICE float bf16_to_f32(unsigned short bits) {
  return __uint_as_float(static_cast<unsigned>(bits) << 16);
}

QUERN_DEVICE unsigned short f32_to_bf16(float value) {
  const unsigned all = __float_as_uint(value);
  if ((all & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>((all >> 16) | 0x40u);
  return static_cast<unsigned short>((all + 0x7fffu + ((all >> 16) & 1u)) >> 16);
}

}  // namespace quern::backends::cuda
