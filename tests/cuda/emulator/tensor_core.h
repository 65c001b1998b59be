/// \file
/// The matrix units by exchange between lanes. Included by
/// lib/backends/cuda/kernels/tensor_core.cuh only, which says where each number lies.
#pragma once

#include <cstdint>

#include "tests/cuda/emulator/block.h"

namespace quern::cuda_emulator {

/// Four products of int8 added to `sum`; wraps.
inline std::int32_t dot4(std::int32_t sum, std::uint32_t a, std::uint32_t b) {
  auto total = static_cast<std::uint32_t>(sum);
  for (int i = 0; i < 32; i += 8) {
    const int product = static_cast<std::int8_t>(a >> i) * static_cast<std::int8_t>(b >> i);
    total += static_cast<std::uint32_t>(product);
  }
  return static_cast<std::int32_t>(total);
}

/// `n_a` words of A come first in each payload, then n_a / 2 words of B.
template <int n_a>
void multiply_tiles(std::int32_t (&d)[4], const std::uint32_t (&a)[n_a],
                    const std::uint32_t (&b)[n_a / 2]) {
  unsigned mine[n_a + n_a / 2];
  for (int i = 0; i < n_a; ++i) mine[i] = a[i];
  for (int i = 0; i < n_a / 2; ++i) mine[n_a + i] = b[i];
  if (living_lanes(~0U) != ~0U) fail_launch("a lane is missing in a product of tiles");
  const Payload* lanes = exchange(~0U, Collective::kMatrix, mine, n_a + n_a / 2);
  const unsigned row = lane_of_thread() / 4;
  const unsigned column = lane_of_thread() % 4 * 2;
  for (unsigned i = 0; i < 4; ++i) {
    for (unsigned t = 0; t < 4; ++t) {
      const Payload& left = lanes[row * 4 + t];
      const Payload& right = lanes[(column + i % 2) * 4 + t];
      for (unsigned half = 0; half < n_a / 2; ++half) {
        d[i] = dot4(d[i], left.words[2 * half + i / 2], right.words[n_a + half]);
      }
    }
  }
}

}  // namespace quern::cuda_emulator

namespace quern::backends::cuda {

inline void mma_s8(std::int32_t (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  cuda_emulator::multiply_tiles<4>(d, a, b);
}

inline void mma_s8_from(std::int32_t start, std::int32_t (&d)[4], const std::uint32_t (&a)[4],
                        const std::uint32_t (&b)[2]) {
  for (std::int32_t& sum : d) sum = start;
  cuda_emulator::multiply_tiles<4>(d, a, b);
}

inline void mma_s8_k16_from(std::int32_t start, std::int32_t (&d)[4], const std::uint32_t (&a)[2],
                            const std::uint32_t (&b)[1]) {
  for (std::int32_t& sum : d) sum = start;
  cuda_emulator::multiply_tiles<2>(d, a, b);
}

}  // namespace quern::backends::cuda
