/// \file
/// The arithmetic of every encoding, slow and exact: what a panel means, how rows of a foreign
/// format become a panel and back, how float rows are quantized. One header per encoding holds the
/// functions; the table in registry.cpp has one row each. Kernels are judged against these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "quern/encoding.h"

namespace quern::quant {

inline constexpr std::int64_t kPanelRows = 16;

/// What quantizing may take into account. Pointers may be null; they are read, never kept.
struct QuantizeHints {
  const float* column_weight = nullptr;  ///< `[cols]`, importance of the squared error per column.
};

/// One row of the table. All functions work on one panel of 16 rows of `cols` elements, where
/// `cols` is the tensor's own (unpadded) row length; padding of k is made and dropped inside.
/// None allocates more than one panel's scratch; all are pure. Thread rule: any thread.
struct EncodingOps {
  Encoding id;

  /// The exact meaning: writes `rows16[16][cols]` float32 (native encodings: rotated back).
  void (*dequantize_panel)(const std::byte* panel, std::int64_t cols, float* rows16);

  /// Best fit of `rows16[16][cols]` in this encoding; null where only reading is supported.
  /// Deterministic. Rows beyond the matrix are passed as zeros.
  void (*quantize_panel)(const float* rows16, std::int64_t cols, const QuantizeHints& hints,
                         std::byte* panel);

  /// GGUF (or plain float) rows → panel and back, every bit kept. `rows[r]` points to the source
  /// bytes of row r, null for a row beyond the matrix (zero weights). Null for native encodings.
  void (*interleave_panel)(const std::byte* const rows[16], std::int64_t cols, std::byte* panel);
  void (*deinterleave_panel)(const std::byte* panel, std::int64_t cols, std::byte* const rows[16]);

  /// Bytes of `cols` elements of one plain row in the foreign format; 0 where there is none.
  std::uint64_t (*foreign_row_bytes)(std::int64_t cols);
};

/// \return the row of an encoding, or nullptr (integers, unknown ids).
const EncodingOps* find_ops(Encoding id) noexcept;
std::span<const EncodingOps> all_ops() noexcept;

/// Block-diagonal Walsh–Hadamard rotation in place: every 64 elements x ← H₆₄·x / 8, H₆₄ in
/// Sylvester order; its own inverse. `n` is a multiple of 64. The order of the six butterfly
/// stages (stride 1, 2, 4, … 32; (a+b, a−b); the factor 1/8 last) is part of the numerics law.
void hadamard64(float* x, std::int64_t n) noexcept;

/// The same of a vector of any n: hadamard64 of its blocks of 64; of the rest a block of 32 and one
/// of 16 where they fit (stages up to stride 16 or 8, factors 32^−½ and 1/4); the last n mod 16
/// elements stay as they are.
void hadamard_vector(float* x, std::int64_t n) noexcept;

// Scalar conversions, IEEE round to nearest even; NaN stays NaN.
float f16_to_f32(std::uint16_t bits) noexcept;
std::uint16_t f32_to_f16(float value) noexcept;
float bf16_to_f32(std::uint16_t bits) noexcept;
std::uint16_t f32_to_bf16(float value) noexcept;

}  // namespace quern::quant
