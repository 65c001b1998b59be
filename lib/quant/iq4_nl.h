/// \file
/// IQ4_NL: 32 codes into a fixed codebook of 16 under one float16 scale; value codebook[q]·d.
/// GGUF block, 18 bytes: d, codes as in Q4_0.
#pragma once

#include "quant/codebooks.h"
#include "quant/q4_0.h"

namespace quern::quant {

/// Describes IQ4_NL to BlockCodec.
struct IQ4_NL {
  static constexpr Encoding kId = Encoding::kIQ4_NL;
  static constexpr int kBlock = 32, kBytes = 18;
  static constexpr std::array kParts = {Part::kNibbles, Part::kD};

  static void unpack(const std::byte* from, Block<32>& block) { Q4_0::unpack(from, block); }
  static void pack(const Block<32>& block, std::byte* to) { Q4_0::pack(block, to); }
  static void values(const Block<32>& block, float* x) {
    const float d = f16_to_f32(block.d);
    for (std::size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(kIq4Codebook[block.code[i]]) * d;
  }
  static void fit(const float* x, const float* w, Block<32>& block) {
    block.d = scale_to_f16(search_scale(x, w));
    const float inverse = safe_inverse(f16_to_f32(block.d));
    for (std::size_t i = 0; i < 32; ++i) block.code[i] = nearest(x[i] * inverse);
  }

 private:
  static constexpr float middle(std::size_t i) {
    return 0.5f * static_cast<float>(kIq4Codebook[i] + kIq4Codebook[i + 1]);
  }
  /// Code of the nearest entry; the lower one in the middle.
  static std::uint8_t nearest(float y) {
    std::uint8_t code = 0;
    for (std::size_t i = 0; i < 15; ++i) code = static_cast<std::uint8_t>(code + (y > middle(i)));
    return code;
  }
  /// As fit_scale() of fit.h, with the codebook in place of a range of integers.
  static float search_scale(const float* x, const float* w) {
    float extreme = 0;
    for (int i = 0; i < 32; ++i) {
      if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
    }
    if (!(std::fabs(extreme) > kNegligible)) return 0.0f;
    const float inverse = 1.0f / extreme;
    float best_gain = 0, best = 0;
    for (int c = 0; c < 28; ++c) {
      const float size = 92.0f + 4.0f * static_cast<float>(c / 2);
      const float y_scale = c % 2 == 0 ? -size : size;
      float q[32];  // nearest entries, by a sum over the thresholds, which vectorizes
      for (int i = 0; i < 32; ++i) q[i] = static_cast<float>(kIq4Codebook[0]);
      for (std::size_t t = 0; t < 15; ++t) {
        const float step = static_cast<float>(kIq4Codebook[t + 1] - kIq4Codebook[t]);
        const float threshold = middle(t);
        for (int i = 0; i < 32; ++i) q[i] += x[i] * inverse * y_scale > threshold ? step : 0.0f;
      }
      const float uq = lane_sum<32>([&](int i) { return w[i] * (x[i] * inverse) * q[i]; });
      const float qq = lane_sum<32>([&](int i) { return w[i] * q[i] * q[i]; });
      if (qq > 0 && uq * uq > best_gain * qq) {
        best_gain = uq * uq / qq;
        best = uq / qq;
      }
    }
    return best * extreme;
  }
};

}  // namespace quern::quant
