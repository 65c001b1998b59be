/// \file
/// Q5_K: Q4_K with a fifth bit per code; value (d·s)·q − dmin·m.
/// GGUF block, 176 bytes: d, dmin, 12 bytes of scales and minima, 32 bytes of fifth bits (bit g of
/// byte l: code 32g + l), 128 bytes of low nibbles.
#pragma once

#include "quant/q4_k.h"

namespace quern::quant {

/// Describes Q5_K to BlockCodec. sub[g] = {scale, minimum} of group g.
struct Q5_K {
  static constexpr Encoding kId = Encoding::kQ5_K;
  static constexpr int kBlock = 256, kBytes = 176;
  static constexpr std::array kParts = {Part::kNibbles, Part::kBit4, Part::kSubPair, Part::kDM};

  static void unpack(const std::byte* from, Block<256>& block) {
    block.d = load_le<std::uint16_t>(from);
    block.m = load_le<std::uint16_t>(from + 2);
    unpack_k_subs(from + 4, block);
    unpack_k_nibbles(from + 48, block.code.data());
    for (std::size_t k = 0; k < 256; ++k) {
      const auto bit = (std::to_integer<unsigned>(from[16 + k % 32]) >> (k / 32)) & 1u;
      block.code[k] = static_cast<std::uint8_t>(block.code[k] | (bit << 4));
    }
  }
  static void pack(const Block<256>& block, std::byte* to) {
    store_le(to, block.d);
    store_le(to + 2, block.m);
    pack_k_subs(block, to + 4);
    std::memset(to + 16, 0, 32);
    for (std::size_t k = 0; k < 256; ++k) {
      to[16 + k % 32] |= static_cast<std::byte>(((block.code[k] >> 4) & 1u) << (k / 32));
    }
    pack_k_nibbles(block.code.data(), to + 48);
  }
  static void values(const Block<256>& block, float* x) { k_affine_values(block, x); }
  static void fit(const float* x, const float* w, Block<256>& block) {
    k_affine_fit(x, w, 31.0f, block);
  }
};

}  // namespace quern::quant
