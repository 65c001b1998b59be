/// \file
/// Q3_K: 256 codes of 3 bits; per 16 of them a signed 6-bit scale under one float16;
/// value (d·s)·(q − 4). Read only.
/// GGUF block, 110 bytes: 32 bytes of third bits, 64 bytes of low crumbs, 12 bytes of 16 scales
/// (stored + 32), d. Panels hold the scales as int8.
#pragma once

#include "quant/q2_k.h"

namespace quern::quant {

/// Describes Q3_K to BlockCodec. sub[g] = s (int8) of the first and second 16 elements of group g.
struct Q3_K {
  static constexpr Encoding kId = Encoding::kQ3_K;
  static constexpr int kBlock = 256, kBytes = 110;
  static constexpr std::array kParts = {Part::kLowCrumbs, Part::kBit2, Part::kSubPair, Part::kD};

  static void unpack(const std::byte* from, Block<256>& block) {
    unpack_k_crumbs(from + 32, block.code.data());
    for (std::size_t k = 0; k < 256; ++k) {  // bit g of byte l: third bit of code 32g + l
      const auto bit = (std::to_integer<unsigned>(from[k % 32]) >> (k / 32)) & 1u;
      block.code[k] = static_cast<std::uint8_t>(block.code[k] | (bit << 2));
    }
    const std::byte* packed = from + 96;
    for (std::size_t s = 0; s < 16; ++s) {
      const auto low = std::to_integer<unsigned>(packed[s % 8]) >> (4 * (s / 8)) & 15u;
      const auto high = std::to_integer<unsigned>(packed[8 + s % 4]) >> (2 * (s / 4)) & 3u;
      block.sub[s / 2][s % 2] = static_cast<std::uint8_t>((low | (high << 4)) - 32u);
    }
    block.d = load_le<std::uint16_t>(from + 108);
  }
  static void pack(const Block<256>& block, std::byte* to) {
    std::memset(to, 0, 32);
    std::memset(to + 96, 0, 12);
    for (std::size_t k = 0; k < 256; ++k) {
      to[k % 32] |= static_cast<std::byte>(((block.code[k] >> 2) & 1u) << (k / 32));
    }
    pack_k_crumbs(block.code.data(), to + 32);
    for (std::size_t s = 0; s < 16; ++s) {
      const unsigned six = (block.sub[s / 2][s % 2] + 32u) & 63u;
      to[96 + s % 8] |= static_cast<std::byte>((six & 15u) << (4 * (s / 8)));
      to[104 + s % 4] |= static_cast<std::byte>((six >> 4) << (2 * (s / 4)));
    }
    store_le(to + 108, block.d);
  }
  static void values(const Block<256>& block, float* x) {
    const float d = f16_to_f32(block.d);
    for (std::size_t k = 0; k < 256; ++k) {
      const auto s = static_cast<std::int8_t>(block.sub[k / 32][k / 16 % 2]);
      x[k] = d * static_cast<float>(s) * static_cast<float>(block.code[k] - 4);
    }
  }
};

}  // namespace quern::quant
