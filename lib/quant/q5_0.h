/// \file
/// Q5_0: 32 codes of 5 bits under one float16 scale; value (q − 16)·d.
/// GGUF block, 22 bytes: d, 32 high bits (bit i = code i), low nibbles as in Q4_0.
#pragma once

#include "quant/q4_0.h"

namespace quern::quant {

/// GGUF's mask of fifth bits, shared by Q5_0 and Q5_1.
inline void unpack_fifth_bits(const std::byte* from, std::uint8_t* code) {
  const auto bits = load_le<std::uint32_t>(from);
  for (int i = 0; i < 32; ++i) {
    code[i] = static_cast<std::uint8_t>(code[i] | (((bits >> i) & 1u) << 4));
  }
}
inline void pack_fifth_bits(const std::uint8_t* code, std::byte* to) {
  std::uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= ((std::uint32_t{code[i]} >> 4) & 1u) << i;
  store_le(to, bits);
}

/// Describes Q5_0 to BlockCodec.
struct Q5_0 {
  static constexpr Encoding kId = Encoding::kQ5_0;
  static constexpr int kBlock = 32, kBytes = 22;
  static constexpr std::array kParts = {Part::kNibbles, Part::kBit4, Part::kD};

  static void unpack(const std::byte* from, Block<32>& block) {
    block.d = load_le<std::uint16_t>(from);
    unpack_half_nibbles(from + 6, block.code.data());
    unpack_fifth_bits(from + 2, block.code.data());
  }
  static void pack(const Block<32>& block, std::byte* to) {
    store_le(to, block.d);
    pack_fifth_bits(block.code.data(), to + 2);
    pack_half_nibbles(block.code.data(), to + 6);
  }
  static void values(const Block<32>& block, float* x) {
    const float d = f16_to_f32(block.d);
    for (std::size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(block.code[i] - 16) * d;
  }
  static void fit(const float* x, const float* w, Block<32>& block) {
    block.d = scale_to_f16(fit_scale<32>(x, w, -16.0f, 15.0f, {13.0f, 0.4f, 12}));
    encode_symmetric(x, 32, f16_to_f32(block.d), -16.0f, 15.0f, 16.0f, block.code.data());
  }
};

}  // namespace quern::quant
