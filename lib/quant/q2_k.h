/// \file
/// Q2_K: 256 codes of 2 bits; per 16 of them a 4-bit scale and a 4-bit minimum under two float16;
/// value (d·(s & 15))·q − dmin·(s >> 4). Read only.
/// GGUF block, 84 bytes: 16 bytes s, 64 bytes of codes, d, dmin.
#pragma once

#include "quant/block_codec.h"

namespace quern::quant {

/// GGUF's order of 256 2-bit codes in 64 bytes, shared by Q2_K and Q3_K: byte 32h + l holds codes
/// 128h + 32c + l in crumbs c = 0…3. Bits 0 and 1 of `code` are replaced.
inline void unpack_k_crumbs(const std::byte* from, std::uint8_t* code) {
  for (int k = 0; k < 256; ++k) {
    const auto byte = std::to_integer<unsigned>(from[k / 128 * 32 + k % 32]);
    code[k] = static_cast<std::uint8_t>((code[k] & ~3u) | ((byte >> (2 * (k % 128 / 32))) & 3u));
  }
}
inline void pack_k_crumbs(const std::uint8_t* code, std::byte* to) {
  for (int at = 0; at < 64; ++at) {
    const std::uint8_t* first = code + at / 32 * 128 + at % 32;
    unsigned all = 0;
    for (int c = 0; c < 4; ++c) all |= (first[32 * c] & 3u) << (2 * c);
    to[at] = static_cast<std::byte>(all);
  }
}

/// Describes Q2_K to BlockCodec. sub[g] = s of the first and of the second 16 elements of group g.
struct Q2_K {
  static constexpr Encoding kId = Encoding::kQ2_K;
  static constexpr int kBlock = 256, kBytes = 84;
  static constexpr std::array kParts = {Part::kLowCrumbs, Part::kSubPair, Part::kDM};

  static void unpack(const std::byte* from, Block<256>& block) {
    for (std::size_t s = 0; s < 16; ++s) {
      block.sub[s / 2][s % 2] = std::to_integer<std::uint8_t>(from[s]);
    }
    unpack_k_crumbs(from + 16, block.code.data());
    block.d = load_le<std::uint16_t>(from + 80);
    block.m = load_le<std::uint16_t>(from + 82);
  }
  static void pack(const Block<256>& block, std::byte* to) {
    for (std::size_t s = 0; s < 16; ++s) to[s] = std::byte{block.sub[s / 2][s % 2]};
    pack_k_crumbs(block.code.data(), to + 16);
    store_le(to + 80, block.d);
    store_le(to + 82, block.m);
  }
  static void values(const Block<256>& block, float* x) {
    const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.m);
    for (std::size_t k = 0; k < 256; ++k) {
      const unsigned s = block.sub[k / 32][k / 16 % 2];
      const float scale = d * static_cast<float>(s & 15u), min = dmin * static_cast<float>(s >> 4);
      x[k] = scale * static_cast<float>(block.code[k]) - min;
    }
  }
};

}  // namespace quern::quant
