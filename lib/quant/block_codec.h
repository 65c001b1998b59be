/// \file
/// Encodings made of GGUF's blocks: the frame that turns one encoding's description of one block
/// into the functions of its row in the registry.
///
/// A description `C` (one header each) has
/// - `kId`, `kBlock` (elements of a block: 32 or 256), `kBytes` (its bytes in GGUF),
/// - `kParts`: what the panel's streams hold, in order,
/// - `unpack(from, block)`, `pack(block, to)`: GGUF's bytes ↔ fields, a bijection,
/// - `values(block, x)`: the exact meaning, `x[kBlock]`,
/// - `fit(x, w, block)` where quantizing is supported: `x[kBlock]` finite, `w[kBlock]` ≥ 0.
/// Thread rule: pure, any thread.
#pragma once

#include <cmath>

#include "quant/fit.h"
#include "quant/panel.h"

namespace quern::quant {

/// The fields of one block of one row, out of their packing.
template <int K>
struct Block {
  /// Codes as unsigned numbers, all bits together.
  std::array<std::uint8_t, static_cast<std::size_t>(K)> code{};
  /// Two bytes per 32 elements: {scale, min}, or one scale per 16 elements, or {scale, unused}.
  std::array<std::array<std::uint8_t, 2>, static_cast<std::size_t>(K / 32)> sub{};
  std::uint16_t d = 0;  ///< float16 scale.
  std::uint16_t m = 0;  ///< float16 minimum, or scale of the minima.
};

/// What one stream of a panel holds of a block.
enum class Part : std::uint8_t {
  kNibbles,     ///< Bits 0–3 of the codes, per 32 elements.
  kBytes,       ///< Bits 0–7.
  kLowCrumbs,   ///< Bits 0–1.
  kHighCrumbs,  ///< Bits 4–5.
  kBit2,        ///< Bit 2.
  kBit4,        ///< Bit 4.
  kSub,         ///< sub[g][0], one byte a row, per 32 elements.
  kSubPair,     ///< sub[g][0] of 16 rows, then sub[g][1] of 16 rows, per 32 elements.
  kD,           ///< d, per block.
  kM,           ///< m, per block.
  kDM,          ///< d of 16 rows, then m of 16 rows, per block.
};

/// Writes part `part` of block number `index` of `row` into its stream.
template <int K>
void store_part(Part part, std::byte* stream, int row, std::int64_t index, const Block<K>& block) {
  if (part >= Part::kD) {
    std::byte* cell = stream + index * (part == Part::kDM ? 64 : 32) + 2 * row;
    store_le(cell, part == Part::kM ? block.m : block.d);
    if (part == Part::kDM) store_le(cell + 32, block.m);
    return;
  }
  for (int g = 0; g < K / 32; ++g) {
    const std::int64_t at = index * (K / 32) + g;
    const std::uint8_t* code = block.code.data() + 32 * g;
    const auto& sub = block.sub[static_cast<std::size_t>(g)];
    switch (part) {
      case Part::kNibbles:
        put_nibbles(stream + 256 * at, row, code);
        break;
      case Part::kBytes:
        put_bytes(stream + 512 * at, row, code);
        break;
      case Part::kLowCrumbs:
        put_crumbs(stream + 128 * at, row, code, 0);
        break;
      case Part::kHighCrumbs:
        put_crumbs(stream + 128 * at, row, code, 4);
        break;
      case Part::kBit2:
        put_bits(stream + 64 * at, row, code, 2);
        break;
      case Part::kBit4:
        put_bits(stream + 64 * at, row, code, 4);
        break;
      case Part::kSub:
        stream[16 * at + row] = std::byte{sub[0]};
        break;
      default:  // kSubPair
        stream[32 * at + row] = std::byte{sub[0]};
        stream[32 * at + 16 + row] = std::byte{sub[1]};
        break;
    }
  }
}

/// Reads what store_part() wrote; codes are or-ed into `block`.
template <int K>
void load_part(Part part, const std::byte* stream, int row, std::int64_t index, Block<K>& block) {
  if (part >= Part::kD) {
    const std::byte* cell = stream + index * (part == Part::kDM ? 64 : 32) + 2 * row;
    (part == Part::kM ? block.m : block.d) = load_le<std::uint16_t>(cell);
    if (part == Part::kDM) block.m = load_le<std::uint16_t>(cell + 32);
    return;
  }
  for (int g = 0; g < K / 32; ++g) {
    const std::int64_t at = index * (K / 32) + g;
    std::uint8_t* code = block.code.data() + 32 * g;
    auto& sub = block.sub[static_cast<std::size_t>(g)];
    switch (part) {
      case Part::kNibbles:
        get_nibbles(stream + 256 * at, row, code);
        break;
      case Part::kBytes:
        get_bytes(stream + 512 * at, row, code);
        break;
      case Part::kLowCrumbs:
        get_crumbs(stream + 128 * at, row, code, 0);
        break;
      case Part::kHighCrumbs:
        get_crumbs(stream + 128 * at, row, code, 4);
        break;
      case Part::kBit2:
        get_bits(stream + 64 * at, row, code, 2);
        break;
      case Part::kBit4:
        get_bits(stream + 64 * at, row, code, 4);
        break;
      case Part::kSub:
        sub[0] = std::to_integer<std::uint8_t>(stream[16 * at + row]);
        break;
      default:  // kSubPair
        sub[0] = std::to_integer<std::uint8_t>(stream[32 * at + row]);
        sub[1] = std::to_integer<std::uint8_t>(stream[32 * at + 16 + row]);
        break;
    }
  }
}

/// The functions of an EncodingOps row for description `C`; contracts are those of registry.h.
template <class C>
struct BlockCodec {
  static constexpr std::int64_t kBlock = C::kBlock;

  static std::uint64_t foreign_row_bytes(std::int64_t cols) {
    return cols % kBlock != 0 ? 0 : static_cast<std::uint64_t>(cols / kBlock * C::kBytes);
  }

  static void interleave(const std::byte* const rows[16], std::int64_t cols, std::byte* panel) {
    clear_panel(C::kId, panel, cols);
    const auto streams = locate_streams(C::kId, panel, cols);
    static constexpr std::array<std::byte, C::kBytes> kZero{};
    for (int row = 0; row < kPanelRows; ++row) {
      for (std::int64_t b = 0; b < cols / kBlock; ++b) {
        Block<C::kBlock> block;
        C::unpack(rows[row] == nullptr ? kZero.data() : rows[row] + b * C::kBytes, block);
        store(streams, row, b, block);
      }
    }
  }

  static void deinterleave(const std::byte* panel, std::int64_t cols, std::byte* const rows[16]) {
    const auto streams = locate_streams(C::kId, panel, cols);
    for (int row = 0; row < kPanelRows; ++row) {
      for (std::int64_t b = 0; rows[row] != nullptr && b < cols / kBlock; ++b) {
        C::pack(load(streams, row, b), rows[row] + b * C::kBytes);
      }
    }
  }

  static void dequantize(const std::byte* panel, std::int64_t cols, float* rows16) {
    const auto streams = locate_streams(C::kId, panel, cols);
    float x[C::kBlock];
    for (int row = 0; row < kPanelRows; ++row) {
      for (std::int64_t k = 0; k < cols; k += kBlock) {
        C::values(load(streams, row, k / kBlock), x);
        std::copy_n(x, std::min(kBlock, cols - k), rows16 + row * cols + k);
      }
    }
  }

  /// A block with a NaN or an infinity in it is stored as codes of 0 under a NaN scale: all of it
  /// reads as NaN.
  static void quantize(const float* rows16, std::int64_t cols, const QuantizeHints& hints,
                       std::byte* panel) {
    clear_panel(C::kId, panel, cols);
    const auto streams = locate_streams(C::kId, panel, cols);
    const std::int64_t padded = padded_to(cols, kBlock);
    const std::vector<float> weight = column_weights(cols, padded, hints);
    float x[C::kBlock];
    for (int row = 0; row < kPanelRows; ++row) {
      for (std::int64_t k = 0; k < padded; k += kBlock) {
        const std::int64_t n = std::min(kBlock, cols - k);
        std::fill(std::copy_n(rows16 + row * cols + k, n, x), x + kBlock, 0.0f);
        Block<C::kBlock> block;
        if (std::all_of(x, x + n, [](float v) { return std::isfinite(v); })) {
          C::fit(x, weight.data() + k, block);
        } else {
          block.d = 0x7e00;
        }
        store(streams, row, k / kBlock, block);
      }
    }
  }

 private:
  static void store(const PanelStreams<std::byte>& streams, int row, std::int64_t b,
                    const Block<C::kBlock>& block) {
    for (std::size_t p = 0; p < C::kParts.size(); ++p) {
      store_part(C::kParts[p], streams.at[p], row, b, block);
    }
  }

  static Block<C::kBlock> load(const PanelStreams<const std::byte>& streams, int row,
                               std::int64_t b) {
    Block<C::kBlock> block;
    for (std::size_t p = 0; p < C::kParts.size(); ++p) {
      load_part(C::kParts[p], streams.at[p], row, b, block);
    }
    return block;
  }
};

/// The row of the registry of description `C`.
template <class C>
constexpr EncodingOps block_ops() {
  using Codec = BlockCodec<C>;
  EncodingOps ops{};
  ops.id = C::kId;
  ops.dequantize_panel = Codec::dequantize;
  if constexpr (requires { &C::fit; }) ops.quantize_panel = Codec::quantize;
  ops.interleave_panel = Codec::interleave;
  ops.deinterleave_panel = Codec::deinterleave;
  ops.foreign_row_bytes = Codec::foreign_row_bytes;
  return ops;
}

}  // namespace quern::quant
