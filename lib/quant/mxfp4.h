/// \file
/// MXFP4: 32 codes of E2M1 under one power of two (E8M0); value e2m1[q]·2^(e − 127); e = 255 is
/// NaN. Read only. (OCP Microscaling Formats specification 1.0.)
/// GGUF block, 17 bytes: e, codes as in Q4_0.
#pragma once

#include <bit>
#include <cmath>

#include "quant/codebooks.h"
#include "quant/q4_0.h"

namespace quern::quant {

/// 2^(e − 128), the scale of kE2m1Doubled, exact (subnormal for e < 2); NaN for 255.
inline float e8m0_half(std::uint8_t e) {
  if (e == 255) return std::bit_cast<float>(0x7fc00000u);
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1u) << 23);
}

/// Describes MXFP4 to BlockCodec. sub[0][0] = e.
struct MXFP4 {
  static constexpr Encoding kId = Encoding::kMXFP4;
  static constexpr int kBlock = 32, kBytes = 17;
  static constexpr std::array kParts = {Part::kNibbles, Part::kSub};

  static void unpack(const std::byte* from, Block<32>& block) {
    block.sub[0][0] = std::to_integer<std::uint8_t>(from[0]);
    unpack_half_nibbles(from + 1, block.code.data());
  }
  static void pack(const Block<32>& block, std::byte* to) {
    to[0] = std::byte{block.sub[0][0]};
    pack_half_nibbles(block.code.data(), to + 1);
  }
  static void values(const Block<32>& block, float* x) {
    const float scale = e8m0_half(block.sub[0][0]);
    for (std::size_t i = 0; i < 32; ++i) {
      x[i] = static_cast<float>(kE2m1Doubled[block.code[i]]) * scale;
    }
  }
};

}  // namespace quern::quant
