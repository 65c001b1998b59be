/// \file
/// Q6_K: 256 codes of 6 bits; per 16 of them a signed byte as scale under one float16;
/// value (d·s)·(q − 32).
/// GGUF block, 210 bytes: 128 bytes of low nibbles, 64 bytes of high crumbs, 16 × int8, d.
#pragma once

#include "quant/block_codec.h"
#include "quant/fit.h"

namespace quern::quant {

/// Describes Q6_K to BlockCodec. sub[g] = s (int8) of the first and second 16 elements of group g.
struct Q6_K {
  static constexpr Encoding kId = Encoding::kQ6_K;
  static constexpr int kBlock = 256, kBytes = 210;
  static constexpr std::array kParts = {Part::kNibbles, Part::kHighCrumbs, Part::kSubPair,
                                        Part::kD};

  static void unpack(const std::byte* from, Block<256>& block) {
    for (int k = 0; k < 256; ++k) {
      const Place p = place_of(k);
      const unsigned low = std::to_integer<unsigned>(from[p.low]) >> p.low_shift & 15u;
      const unsigned high = std::to_integer<unsigned>(from[p.high]) >> p.high_shift & 3u;
      block.code[static_cast<std::size_t>(k)] = static_cast<std::uint8_t>(low | (high << 4));
    }
    for (std::size_t s = 0; s < 16; ++s) {
      block.sub[s / 2][s % 2] = std::to_integer<std::uint8_t>(from[192 + s]);
    }
    block.d = load_le<std::uint16_t>(from + 208);
  }
  static void pack(const Block<256>& block, std::byte* to) {
    std::memset(to, 0, 192);
    for (int k = 0; k < 256; ++k) {
      const Place p = place_of(k);
      const unsigned code = block.code[static_cast<std::size_t>(k)];
      to[p.low] |= static_cast<std::byte>((code & 15u) << p.low_shift);
      to[p.high] |= static_cast<std::byte>((code >> 4 & 3u) << p.high_shift);
    }
    for (std::size_t s = 0; s < 16; ++s) to[192 + s] = std::byte{block.sub[s / 2][s % 2]};
    store_le(to + 208, block.d);
  }
  static void values(const Block<256>& block, float* x) {
    const float d = f16_to_f32(block.d);
    for (std::size_t k = 0; k < 256; ++k) {
      const auto s = static_cast<std::int8_t>(block.sub[k / 32][k / 16 % 2]);
      x[k] = d * static_cast<float>(s) * static_cast<float>(block.code[k] - 32);
    }
  }
  static void fit(const float* x, const float* w, Block<256>& block) {
    std::array<float, 16> scales;
    float extreme = 0;
    for (std::size_t s = 0; s < 16; ++s) {
      scales[s] = fit_scale<16>(x + 16 * s, w + 16 * s, -32.0f, 31.0f, {29.0f, 0.5f, 9});
      if (std::fabs(scales[s]) > std::fabs(extreme)) extreme = scales[s];
    }
    block.d = scale_to_f16(extreme / -128.0f);
    const float d = f16_to_f32(block.d), inverse = safe_inverse(d);
    for (std::size_t s = 0; s < 16; ++s) {
      const float sub = round_clamped(scales[s] * inverse, -128.0f, 127.0f);
      block.sub[s / 2][s % 2] = static_cast<std::uint8_t>(static_cast<int>(sub));
      encode_symmetric(x + 16 * s, 16, d * sub, -32.0f, 31.0f, 32.0f, block.code.data() + 16 * s);
    }
  }

 private:
  /// Where GGUF keeps the bits of code k: byte and shift of its low nibble and of its high crumb.
  struct Place {
    int low, low_shift, high, high_shift;
  };
  static Place place_of(int k) {
    const int half = k / 128, quarter = k % 128 / 32, l = k % 32;
    return {64 * half + 32 * (quarter % 2) + l, 4 * (quarter / 2), 128 + 32 * half + l,
            2 * quarter};
  }
};

}  // namespace quern::quant
