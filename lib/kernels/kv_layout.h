/// \file
/// Where the numbers of a KV block of 64 positions lie, and the state and scratch of attention
/// (private to lib/kernels).
///
/// Plain types: keys `[4][hd][16 positions]`, values `[64][vd16]`.
/// q8 keys: codes int8 `[4][ceil(hd/4)][16 positions][4]`, then scales f32 `[64]`; values: codes
/// int8 `[16 fours of positions][vd16][4 positions]`, then log2 of the scales f32 `[64]`.
/// q4 stores code + 8 as a nibble. Keys: byte `[4][ceil(hd/8)][16 positions][4]`, low nibble
/// d = 8u+i, high nibble d = 8u+4+i. Values: `[16 fours][vd32/32][16][4 positions]`, low nibble
/// d = 32c+i, high nibble d = 32c+16+i. Scales as q8.
/// Padding of values is zero; padding of keys is code 0.
#pragma once

#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/kv_blocks.h"
#include "kernels/packed_rows.h"
#include "quern/kv_type.h"

namespace quern::kernels {
namespace {

inline constexpr bool is_coded(KvType type) { return type == KvType::kQ8 || type == KvType::kQ4; }
template <KvType type>
inline constexpr bool kCoded = is_coded(type);

/// Bytes of the codes (or floats) of one block of keys; the scales follow where there are some.
template <KvType type>
inline constexpr std::int64_t key_code_bytes(std::int64_t hd) {
  if constexpr (type == KvType::kF32) return 64 * 4 * hd;
  if constexpr (type == KvType::kF16 || type == KvType::kBF16) return 64 * 2 * hd;
  if constexpr (type == KvType::kQ8) return 64 * round_up(hd, 4);
  return 64 * round_up(hd, 8) / 2;
}

/// Bytes of one position's values (of the codes, where they are coded).
template <KvType type>
inline constexpr std::int64_t value_row_bytes(std::int64_t vd) {
  if constexpr (type == KvType::kF32) return 4 * round_up(vd, 16);
  if constexpr (type == KvType::kF16 || type == KvType::kBF16) return 2 * round_up(vd, 16);
  if constexpr (type == KvType::kQ8) return round_up(vd, 16);
  return round_up(vd, 32) / 2;
}

/// Keys and values of block b of a head.
inline std::int64_t bytes_before_block(const KvHead& head, std::int64_t b) {
  return bytes_before_block(b, head.block_bytes, head.span_bytes);
}
inline std::byte* key_block(const KvHead& head, std::int64_t b) {
  return head.k + bytes_before_block(head, b);
}
inline std::byte* value_block(const KvHead& head, std::int64_t b) {
  return head.v + bytes_before_block(head, b);
}

/// Where the code of element d of position j lies among the values of q8.
inline constexpr std::int64_t q8_value_at(std::int64_t vd, std::int64_t j, std::int64_t d) {
  return (j / 4 * round_up(vd, 16) + d) * 4 + j % 4;
}
/// The byte among the values of q4; its high nibble where d % 32 ≥ 16.
inline constexpr std::int64_t q4_value_at(std::int64_t vd, std::int64_t j, std::int64_t d) {
  return ((j / 4 * (round_up(vd, 32) / 32) + d / 32) * 16 + d % 16) * 4 + j % 4;
}

/// The smallest scale of coded values, so that no weight of a block leaves float32's range.
constexpr float kLeastValueScale = 0x1p-40f;

/// Queries up to which attention walks them one by one, with positions and elements as lanes; more
/// are lanes themselves.
constexpr std::int64_t kFewQueries = 8;

inline constexpr std::int64_t state_width(std::int64_t queries) {
  return queries <= kFewQueries ? queries : round_up(queries, 16);
}

}  // namespace
}  // namespace quern::kernels
