/// \file
/// F32, F16 and BF16 in panels: [k][16 rows], nothing else. Rounding is to nearest even; a value
/// beyond float16 becomes infinite, NaN stays NaN. Thread rule: pure, any thread.
#pragma once

#include <bit>

#include "quant/panel.h"

namespace quern::quant {

/// Describes F32: the word stored, its value, its rounding.
struct F32 {
  static constexpr Encoding kId = Encoding::kF32;
  using Word = std::uint32_t;
  static float value(Word word) { return std::bit_cast<float>(word); }
  static Word round(float x) { return std::bit_cast<Word>(x); }
};

/// Describes IEEE binary16.
struct F16 {
  static constexpr Encoding kId = Encoding::kF16;
  using Word = std::uint16_t;
  static float value(Word word) { return f16_to_f32(word); }
  static Word round(float x) { return f32_to_f16(x); }
};

/// Describes bfloat16.
struct BF16 {
  static constexpr Encoding kId = Encoding::kBF16;
  using Word = std::uint16_t;
  static float value(Word word) { return bf16_to_f32(word); }
  static Word round(float x) { return f32_to_bf16(x); }
};

/// The functions of an EncodingOps row for description `C`; contracts are those of registry.h.
template <class C>
struct FloatCodec {
  using Word = typename C::Word;
  static constexpr std::int64_t kWordBytes = sizeof(Word);
  static constexpr std::int64_t kColumnsAtOnce = 16;

  static std::uint64_t foreign_row_bytes(std::int64_t cols) {
    return static_cast<std::uint64_t>(cols * kWordBytes);
  }

  static void interleave(const std::byte* const rows[16], std::int64_t cols, std::byte* panel) {
    clear_panel(C::kId, panel, cols);
    for (int row = 0; row < kPanelRows; ++row) {
      for (std::int64_t k = 0; rows[row] != nullptr && k < cols; ++k) {
        std::memcpy(word_at(panel, k, row), rows[row] + k * kWordBytes, sizeof(Word));
      }
    }
  }

  static void deinterleave(const std::byte* panel, std::int64_t cols, std::byte* const rows[16]) {
    for (int row = 0; row < kPanelRows; ++row) {
      for (std::int64_t k = 0; rows[row] != nullptr && k < cols; ++k) {
        std::memcpy(rows[row] + k * kWordBytes, word_at(panel, k, row), sizeof(Word));
      }
    }
  }

  /// A few columns after the other, which stay in the nearest cache for all rows.
  static void dequantize(const std::byte* panel, std::int64_t cols, float* rows16) {
    for (std::int64_t first = 0; first < cols; first += kColumnsAtOnce) {
      const std::int64_t end = std::min(first + kColumnsAtOnce, cols);
      for (int row = 0; row < kPanelRows; ++row) {
        for (std::int64_t k = first; k < end; ++k) {
          rows16[row * cols + k] = C::value(load_le<Word>(word_at(panel, k, row)));
        }
      }
    }
  }

  static void quantize(const float* rows16, std::int64_t cols, const QuantizeHints&,
                       std::byte* panel) {
    clear_panel(C::kId, panel, cols);
    for (int row = 0; row < kPanelRows; ++row) {
      for (std::int64_t k = 0; k < cols; ++k) {
        store_le(word_at(panel, k, row), C::round(rows16[row * cols + k]));
      }
    }
  }

 private:
  template <class Byte>
  static Byte* word_at(Byte* panel, std::int64_t k, int row) {
    return panel + (k * kPanelRows + row) * kWordBytes;
  }
};

/// The row of the registry of description `C`.
template <class C>
constexpr EncodingOps float_ops() {
  using Codec = FloatCodec<C>;
  return {C::kId,
          Codec::dequantize,
          Codec::quantize,
          Codec::interleave,
          Codec::deinterleave,
          Codec::foreign_row_bytes};
}

}  // namespace quern::quant
