/// \file
/// IQ4_XS: 256 codes into IQ4_NL's codebook; per 32 of them a signed 6-bit scale under one float16;
/// value codebook[q]·(d·s). Read only.
/// GGUF block, 136 bytes: d, eight 2-bit high parts of the scales, eight low nibbles, 128 bytes of
/// codes, per 32 as in Q4_0; scales are stored + 32. Panels hold them as int8.
#pragma once

#include "quant/codebooks.h"
#include "quant/q4_0.h"

namespace quern::quant {

/// Describes IQ4_XS to BlockCodec. sub[g][0] = s (int8) of group g.
struct IQ4_XS {
  static constexpr Encoding kId = Encoding::kIQ4_XS;
  static constexpr int kBlock = 256, kBytes = 136;
  static constexpr std::array kParts = {Part::kNibbles, Part::kSub, Part::kD};

  static void unpack(const std::byte* from, Block<256>& block) {
    block.d = load_le<std::uint16_t>(from);
    const unsigned high = load_le<std::uint16_t>(from + 2);
    for (std::size_t g = 0; g < 8; ++g) {
      const unsigned low = std::to_integer<unsigned>(from[4 + g / 2]) >> (4 * (g % 2)) & 15u;
      const unsigned six = low | ((high >> (2 * g) & 3u) << 4);
      block.sub[g][0] = static_cast<std::uint8_t>(six - 32u);
      unpack_half_nibbles(from + 8 + 16 * g, block.code.data() + 32 * g);
    }
  }
  static void pack(const Block<256>& block, std::byte* to) {
    unsigned high = 0;
    std::memset(to + 4, 0, 4);
    for (std::size_t g = 0; g < 8; ++g) {
      const unsigned six = (block.sub[g][0] + 32u) & 63u;
      high |= (six >> 4) << (2 * g);
      to[4 + g / 2] |= static_cast<std::byte>((six & 15u) << (4 * (g % 2)));
      pack_half_nibbles(block.code.data() + 32 * g, to + 8 + 16 * g);
    }
    store_le(to, block.d);
    store_le(to + 2, static_cast<std::uint16_t>(high));
  }
  static void values(const Block<256>& block, float* x) {
    const float d = f16_to_f32(block.d);
    for (std::size_t k = 0; k < 256; ++k) {
      const float scale = d * static_cast<float>(static_cast<std::int8_t>(block.sub[k / 32][0]));
      x[k] = static_cast<float>(kIq4Codebook[block.code[k]]) * scale;
    }
  }
};

}  // namespace quern::quant
