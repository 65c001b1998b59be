/// \file
/// Where the numbers of a KV block of 64 positions lie (private to lib/kernels).
///
/// q8 keys: codes int8 `[4][ceil(hd/4)][16 positions][4]`, then scales f32 `[64]`; values: codes
/// int8
/// `[64][hd16]`, then scales f32 `[64]`. q4 stores code + 8 as a nibble; keys: byte
/// `[4][ceil(hd/8)][16 positions][4]`, low nibble d = 8u+i, high nibble d = 8u+4+i; values:
/// `[64][round_up(hd, 32)/2]`, byte 16u+i holds d = 32u+i (low) and d = 32u+16+i (high); scales as
/// q8. Padding of values is zero; padding of keys is code 0.
#pragma once

#include <cstdint>

#include "kernels/packed_rows.h"
#include "quern/kv_type.h"

namespace quern::kernels {
namespace {

/// Bytes of the codes (or floats) of one block of keys; the scales follow where there are some.
template <KvType type>
inline constexpr std::int64_t key_code_bytes(std::int64_t hd) {
  if constexpr (type == KvType::kF32) return 64 * 4 * hd;
  if constexpr (type == KvType::kF16 || type == KvType::kBF16) return 64 * 2 * hd;
  if constexpr (type == KvType::kQ8) return 64 * round_up(hd, 4);
  return 64 * round_up(hd, 8) / 2;
}

/// Bytes of one position's values.
template <KvType type>
inline constexpr std::int64_t value_row_bytes(std::int64_t hd) {
  if constexpr (type == KvType::kF32) return 4 * round_up(hd, 16);
  if constexpr (type == KvType::kF16 || type == KvType::kBF16) return 2 * round_up(hd, 16);
  if constexpr (type == KvType::kQ8) return round_up(hd, 16);
  return round_up(hd, 32) / 2;
}

/// Scratch of attention, per query: 64 scores, 64 weights, the block's output, the query packed.
inline constexpr std::int64_t attention_query_bytes(std::int64_t hd, std::int64_t vd) {
  return 2 * 64 * 4 + round_up(vd, 32) * 4 + round_up(hd, 16) * 4;
}

}  // namespace
}  // namespace quern::kernels
