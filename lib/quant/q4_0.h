/// \file
/// Q4_0: 32 codes of 4 bits under one float16 scale; value (q − 8)·d.
/// GGUF block, 18 bytes: d, then byte i = code i (low nibble) and code 16+i (high nibble).
#pragma once

#include "quant/block_codec.h"
#include "quant/fit.h"

namespace quern::quant {

/// GGUF's order of 32 4-bit codes in 16 bytes, shared by the blocks of 32.
inline void unpack_half_nibbles(const std::byte* from, std::uint8_t* code) {
  for (int i = 0; i < 16; ++i) {
    const auto both = std::to_integer<unsigned>(from[i]);
    code[i] = static_cast<std::uint8_t>(both & 15u);
    code[16 + i] = static_cast<std::uint8_t>(both >> 4);
  }
}
inline void pack_half_nibbles(const std::uint8_t* code, std::byte* to) {
  for (int i = 0; i < 16; ++i) {
    to[i] = static_cast<std::byte>((code[i] & 15u) | ((code[16 + i] & 15u) << 4));
  }
}

/// Describes Q4_0 to BlockCodec.
struct Q4_0 {
  static constexpr Encoding kId = Encoding::kQ4_0;
  static constexpr int kBlock = 32, kBytes = 18;
  static constexpr std::array kParts = {Part::kNibbles, Part::kD};

  static void unpack(const std::byte* from, Block<32>& block) {
    block.d = load_le<std::uint16_t>(from);
    unpack_half_nibbles(from + 2, block.code.data());
  }
  static void pack(const Block<32>& block, std::byte* to) {
    store_le(to, block.d);
    pack_half_nibbles(block.code.data(), to + 2);
  }
  static void values(const Block<32>& block, float* x) {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 32; ++i)
      x[i] = static_cast<float>(block.code[static_cast<std::size_t>(i)] - 8) * d;
  }
  static void fit(const float* x, const float* w, Block<32>& block) {
    block.d = scale_to_f16(fit_scale<32>(x, w, -8.0f, 7.0f, {5.6f, 0.2f, 18}));
    encode_symmetric(x, 32, f16_to_f32(block.d), -8.0f, 7.0f, 8.0f, block.code.data());
  }
};

}  // namespace quern::quant
