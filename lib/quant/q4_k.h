/// \file
/// Q4_K: 256 codes of 4 bits; per 32 of them a 6-bit scale and a 6-bit minimum under two float16;
/// value (d·s)·q − dmin·m.
/// GGUF block, 144 bytes: d, dmin, 12 bytes of scales and minima, 128 bytes of codes.
#pragma once

#include "quant/block_codec.h"
#include "quant/fit.h"

namespace quern::quant {

/// GGUF's packing of eight 6-bit scales and eight 6-bit minima in 12 bytes, shared by Q4_K and
/// Q5_K: bytes 0–3 and 4–7 hold scales and minima 0–3 in their low six bits and the upper two bits
/// of scales and minima 4–7 above; bytes 8–11 the low nibbles of scales (low) and minima 4–7
/// (high).
inline void unpack_k_subs(const std::byte* from, Block<256>& block) {
  auto at = [from](std::size_t i) { return std::to_integer<unsigned>(from[i]); };
  for (std::size_t g = 0; g < 4; ++g) {
    block.sub[g] = {static_cast<std::uint8_t>(at(g) & 63u),
                    static_cast<std::uint8_t>(at(4 + g) & 63u)};
    block.sub[4 + g] = {static_cast<std::uint8_t>((at(8 + g) & 15u) | (at(g) >> 6 << 4)),
                        static_cast<std::uint8_t>((at(8 + g) >> 4) | (at(4 + g) >> 6 << 4))};
  }
}
inline void pack_k_subs(const Block<256>& block, std::byte* to) {
  for (std::size_t g = 0; g < 4; ++g) {
    const unsigned scale = block.sub[4 + g][0], min = block.sub[4 + g][1];
    to[g] = static_cast<std::byte>((block.sub[g][0] & 63u) | ((scale >> 4 & 3u) << 6));
    to[4 + g] = static_cast<std::byte>((block.sub[g][1] & 63u) | ((min >> 4 & 3u) << 6));
    to[8 + g] = static_cast<std::byte>((scale & 15u) | ((min & 15u) << 4));
  }
}

/// GGUF's order of 256 nibbles in 128 bytes, shared by Q4_K and Q5_K: byte 32p + l holds code
/// 64p + l in the low and 64p + 32 + l in the high nibble.
inline void unpack_k_nibbles(const std::byte* from, std::uint8_t* code) {
  for (int at = 0; at < 128; ++at) {
    std::uint8_t* low = code + at / 32 * 64 + at % 32;
    low[0] = std::to_integer<std::uint8_t>(from[at] & std::byte{15});
    low[32] = std::to_integer<std::uint8_t>(from[at] >> 4);
  }
}
inline void pack_k_nibbles(const std::uint8_t* code, std::byte* to) {
  for (int at = 0; at < 128; ++at) {
    const std::uint8_t* low = code + at / 32 * 64 + at % 32;
    to[at] = static_cast<std::byte>((low[0] & 15u) | ((low[32] & 15u) << 4));
  }
}

/// The meaning that Q4_K and Q5_K share.
inline void k_affine_values(const Block<256>& block, float* x) {
  const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.m);
  for (std::size_t k = 0; k < 256; ++k) {
    const auto& sub = block.sub[k / 32];
    const float scale = d * static_cast<float>(sub[0]), min = dmin * static_cast<float>(sub[1]);
    x[k] = scale * static_cast<float>(block.code[k]) - min;
  }
}

/// Σ w (x − scale·q + min)² of 32 elements with the best codes for (scale, min).
inline float k_affine_error(const float* x, const float* w, float scale, float min, float levels) {
  const float inverse = safe_inverse(scale);
  return lane_sum<32>([&](int i) {
    const float q = round_clamped((x[i] + min) * inverse, 0.0f, levels);
    const float error = x[i] - (scale * q - min);
    return w[i] * error * error;
  });
}

/// The quantizer that Q4_K and Q5_K share: an affine fit per 32, both float16 from the largest,
/// then each group's pair of 6-bit numbers searched around its rounding.
inline void k_affine_fit(const float* x, const float* w, float levels, Block<256>& block) {
  std::array<AffineFit, 8> fits;
  float largest_scale = 0, largest_min = 0;
  for (std::size_t g = 0; g < 8; ++g) {
    fits[g] = fit_affine<32>(x + 32 * g, w + 32 * g, levels, true);
    largest_scale = std::max(largest_scale, fits[g].scale);
    largest_min = std::max(largest_min, -fits[g].min);
  }
  block.d = scale_to_f16(largest_scale / 63.0f);
  block.m = scale_to_f16(largest_min / 63.0f);
  const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.m);
  for (std::size_t g = 0; g < 8; ++g) {
    const float scale0 = round_clamped(fits[g].scale * safe_inverse(d), 0.0f, 63.0f);
    const float min0 = round_clamped(-fits[g].min * safe_inverse(dmin), 0.0f, 63.0f);
    float best = -1, best_scale = scale0, best_min = min0;
    for (int candidate = 0; candidate < 9; ++candidate) {
      const float scale = scale0 + static_cast<float>(candidate / 3 - 1);
      const float min = min0 + static_cast<float>(candidate % 3 - 1);
      if (std::min(scale, min) < 0 || std::max(scale, min) > 63) continue;
      const float error = k_affine_error(x + 32 * g, w + 32 * g, d * scale, dmin * min, levels);
      if (best < 0 || error < best) {
        best = error;
        best_scale = scale;
        best_min = min;
      }
    }
    block.sub[g] = {static_cast<std::uint8_t>(best_scale), static_cast<std::uint8_t>(best_min)};
    encode_affine(x + 32 * g, 32, d * best_scale, -(dmin * best_min), levels,
                  block.code.data() + 32 * g);
  }
}

/// Describes Q4_K to BlockCodec. sub[g] = {scale, minimum} of group g.
struct Q4_K {
  static constexpr Encoding kId = Encoding::kQ4_K;
  static constexpr int kBlock = 256, kBytes = 144;
  static constexpr std::array kParts = {Part::kNibbles, Part::kSubPair, Part::kDM};

  static void unpack(const std::byte* from, Block<256>& block) {
    block.d = load_le<std::uint16_t>(from);
    block.m = load_le<std::uint16_t>(from + 2);
    unpack_k_subs(from + 4, block);
    unpack_k_nibbles(from + 16, block.code.data());
  }
  static void pack(const Block<256>& block, std::byte* to) {
    store_le(to, block.d);
    store_le(to + 2, block.m);
    pack_k_subs(block, to + 4);
    pack_k_nibbles(block.code.data(), to + 16);
  }
  static void values(const Block<256>& block, float* x) { k_affine_values(block, x); }
  static void fit(const float* x, const float* w, Block<256>& block) {
    k_affine_fit(x, w, 15.0f, block);
  }
};

}  // namespace quern::quant
