/// \file
/// Reading and writing single numbers of a KV block, for the oracle.
#pragma once

#include <algorithm>

#include "kernels/kv_layout.h"
#include "kernels/scalar/parts.h"
#include "quant/registry.h"

namespace quern::kernels {

/// quant::hadamard_vector of x into `out`.
inline void rotated_vector(const float* x, std::int64_t n, float* out) {
  std::copy_n(x, n, out);
  quant::hadamard_vector(out, n);
}

/// Element d of the key at position j (0 … 63) of a block; for q8 and q4 its code.
template <KvType type>
float read_key(const std::byte* block, std::int64_t hd, std::int64_t j, std::int64_t d) {
  const std::int64_t group = j / 16, lane = j % 16;
  if constexpr (type == KvType::kQ8) {
    const std::int64_t at = ((group * round_up(hd, 4) / 4 + d / 4) * 16 + lane) * 4 + d % 4;
    return static_cast<float>(static_cast<std::int8_t>(block[at]));
  } else if constexpr (type == KvType::kQ4) {
    const std::int64_t at = ((group * round_up(hd, 8) / 8 + d / 8) * 16 + lane) * 4 + d % 4;
    const int both = std::to_integer<int>(block[at]);
    return static_cast<float>((d % 8 < 4 ? both & 15 : both >> 4) - 8);
  } else {
    const std::int64_t at = (group * hd + d) * 16 + lane;
    if constexpr (type == KvType::kF32) return load<float>(block + 4 * at);
    const auto word = load<std::uint16_t>(block + 2 * at);
    return type == KvType::kF16 ? quant::f16_to_f32(word) : quant::bf16_to_f32(word);
  }
}

/// Element d of the value at position j; for q8 and q4 its code.
template <KvType type>
float read_value(const std::byte* block, std::int64_t vd, std::int64_t j, std::int64_t d) {
  const std::byte* row = block + j * value_row_bytes<type>(vd);
  if constexpr (type == KvType::kQ8) {
    return static_cast<float>(static_cast<std::int8_t>(block[q8_value_at(vd, j, d)]));
  } else if constexpr (type == KvType::kQ4) {
    const int both = std::to_integer<int>(block[q4_value_at(vd, j, d)]);
    return static_cast<float>((d % 32 < 16 ? both & 15 : both >> 4) - 8);
  } else if constexpr (type == KvType::kF32) {
    return load<float>(row + 4 * d);
  } else {
    const auto word = load<std::uint16_t>(row + 2 * d);
    return type == KvType::kF16 ? quant::f16_to_f32(word) : quant::bf16_to_f32(word);
  }
}

/// The scale (of values: its log2) of position j of a block whose codes take `code_bytes`.
inline float kv_scale(const std::byte* block, std::int64_t code_bytes, std::int64_t j) {
  return load<float>(block + code_bytes + 4 * j);
}

}  // namespace quern::kernels
