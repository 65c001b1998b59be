/// \file
/// Q8_0: 32 signed bytes under one float16 scale; value q·d.
/// GGUF block, 34 bytes: d, then 32 × int8. Panels hold q + 128 (unsigned).
#pragma once

#include "quant/block_codec.h"
#include "quant/fit.h"

namespace quern::quant {

/// Describes Q8_0 to BlockCodec.
struct Q8_0 {
  static constexpr Encoding kId = Encoding::kQ8_0;
  static constexpr int kBlock = 32, kBytes = 34;
  static constexpr std::array kParts = {Part::kBytes, Part::kD};

  static void unpack(const std::byte* from, Block<32>& block) {
    block.d = load_le<std::uint16_t>(from);
    for (std::size_t i = 0; i < 32; ++i) {
      block.code[i] = std::to_integer<std::uint8_t>(from[2 + i] ^ std::byte{0x80});
    }
  }
  static void pack(const Block<32>& block, std::byte* to) {
    store_le(to, block.d);
    for (std::size_t i = 0; i < 32; ++i) to[2 + i] = std::byte{block.code[i]} ^ std::byte{0x80};
  }
  static void values(const Block<32>& block, float* x) {
    const float d = f16_to_f32(block.d);
    for (std::size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(block.code[i] - 128) * d;
  }
  static void fit(const float* x, const float* w, Block<32>& block) {
    block.d = scale_to_f16(fit_scale<32>(x, w, -127.0f, 127.0f, {124.0f, 0.5f, 8}));
    encode_symmetric(x, 32, f16_to_f32(block.d), -127.0f, 127.0f, 128.0f, block.code.data());
  }
};

}  // namespace quern::quant
