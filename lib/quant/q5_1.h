/// \file
/// Q5_1: 32 codes of 5 bits under a float16 scale and minimum; value q·d + m.
/// GGUF block, 24 bytes: d, m, 32 high bits (bit i = code i), low nibbles as in Q4_0.
#pragma once

#include "quant/q5_0.h"

namespace quern::quant {

/// Describes Q5_1 to BlockCodec.
struct Q5_1 {
  static constexpr Encoding kId = Encoding::kQ5_1;
  static constexpr int kBlock = 32, kBytes = 24;
  static constexpr std::array kParts = {Part::kNibbles, Part::kBit4, Part::kD, Part::kM};

  static void unpack(const std::byte* from, Block<32>& block) {
    block.d = load_le<std::uint16_t>(from);
    block.m = load_le<std::uint16_t>(from + 2);
    unpack_half_nibbles(from + 8, block.code.data());
    unpack_fifth_bits(from + 4, block.code.data());
  }
  static void pack(const Block<32>& block, std::byte* to) {
    store_le(to, block.d);
    store_le(to + 2, block.m);
    pack_fifth_bits(block.code.data(), to + 4);
    pack_half_nibbles(block.code.data(), to + 8);
  }
  static void values(const Block<32>& block, float* x) {
    const float d = f16_to_f32(block.d), m = f16_to_f32(block.m);
    for (std::size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(block.code[i]) * d + m;
  }
  static void fit(const float* x, const float* w, Block<32>& block) {
    const AffineFit fit = fit_affine<32>(x, w, 31.0f, false);
    block.d = scale_to_f16(fit.scale);
    block.m = scale_to_f16(fit.min);
    encode_affine(x, 32, f16_to_f32(block.d), f16_to_f32(block.m), 31.0f, block.code.data());
  }
};

}  // namespace quern::quant
