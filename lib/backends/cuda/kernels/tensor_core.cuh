/// \file
/// Products of int8 tiles by the matrix units, exact in int32 (sums wrap as two's complement).
/// All 32 lanes of a warp call together. Fragments as in the PTX ISA manual, "Matrix Fragments for
/// mma.m16n8k32" and "… mma.m16n8k16" with integer types: with g = lane / 4 and t = lane % 4,
///     d[0], d[1]  row g,     columns 2t, 2t + 1       d[2], d[3]  row g + 8, the same columns
///     a[0]        row g,     k = 4t … 4t + 3          a[1]        row g + 8, the same k
///     a[2], a[3]  the same rows, k = 16 + 4t …        (k32 only)
///     b[0]        column g,  k = 4t … 4t + 3          b[1]        k = 16 + 4t … (k32 only)
/// four int8 to a word, the lowest k in its lowest byte.
#pragma once

#include "backends/cuda/kernels/language.cuh"

#if !defined(QUERN_CUDA_EMULATED)

namespace quern::backends::cuda {

/// d[16, 8] += a[16, 32] · b[32, 8].
QUERN_DEVICE void mma_s8(std::int32_t (&d)[4], const std::uint32_t (&a)[4],
                         const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// d[16, 8] = start + a[16, 32] · b[32, 8].
QUERN_DEVICE void mma_s8_from(std::int32_t start, std::int32_t (&d)[4], const std::uint32_t (&a)[4],
                              const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%10,%10,%10,%10};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(start));
}

/// d[16, 8] = start + a[16, 16] · b[16, 8].
QUERN_DEVICE void mma_s8_k16_from(std::int32_t start, std::int32_t (&d)[4],
                                  const std::uint32_t (&a)[2], const std::uint32_t (&b)[1]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%7,%7,%7,%7};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(start));
}

}  // namespace quern::backends::cuda

#else

#include "tests/cuda/emulator/tensor_core.h"

#endif

namespace quern::backends::cuda {

/// The calling thread's place in the fragments: g and t as above.
struct Place {
  int row, four;
  QUERN_DEVICE_MEMBER Place() {
    const int lane = static_cast<int>(threadIdx.x) & 31;
    row = lane >> 2;
    four = lane & 3;
  }
  /// Row and column of d[i].
  QUERN_DEVICE_MEMBER int result_row(int i) const { return row + 8 * (i >> 1); }
  QUERN_DEVICE_MEMBER int result_column(int i) const { return 2 * four + (i & 1); }
};

}  // namespace quern::backends::cuda
