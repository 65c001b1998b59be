/// \file
/// Blocks of keys and values on the device, laid out as the processor's (kernels/kv_layout.h).
#pragma once

#include "backends/cuda/kernels/code_rule.cuh"
#include "backends/cuda/kernels/numbers.cuh"
#include "backends/cuda/kernels/state_args.h"
#include "kernels/kv_blocks.h"
#include "quern/kv_type.h"

namespace quern::backends::cuda {

inline constexpr int kBlockPositions = kernels::kKvBlock;
inline constexpr int kSpanBlocks = kernels::kSpanBlocks;
inline constexpr int kSpanPositions = kSpanBlocks * kBlockPositions;

template <KvType type>
inline constexpr bool kCodedKv = type == KvType::kQ8 || type == KvType::kQ4;

QUERN_DEVICE int up_to(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

/// One head of one sequence.
struct HeadBlocks {
  std::byte* k;
  std::byte* v;
  long long block_bytes, span_bytes;

  QUERN_DEVICE_MEMBER HeadBlocks(const StateArgs& state, const SequenceRecord& sequence, int head)
      : block_bytes(state.block_bytes), span_bytes(state.span_bytes) {
    std::byte* memory = (state.source ? sequence.source : sequence.cache) + head * state.head_bytes;
    k = memory + state.k;
    v = memory + state.v;
  }
  QUERN_DEVICE_MEMBER std::byte* key_block(int b) const { return k + bytes_before(b); }
  QUERN_DEVICE_MEMBER std::byte* value_block(int b) const { return v + bytes_before(b); }
  QUERN_DEVICE_MEMBER long long bytes_before(int b) const {
    return kernels::bytes_before_block(b, block_bytes, span_bytes);
  }
};

/// How many words of four codes a coded key has, and how many columns a coded value.
template <KvType type>
QUERN_DEVICE int key_words(int head_dim) {
  return type == KvType::kQ8 ? up_to(head_dim, 4) / 4 : up_to(head_dim, 8) / 8;
}
template <KvType type>
QUERN_DEVICE int value_columns(int value_dim) {
  return type == KvType::kQ8 ? up_to(value_dim, 16) : up_to(value_dim, 32);
}
/// Bytes of a block's codes; the scales follow.
template <KvType type>
QUERN_DEVICE int key_code_bytes(int head_dim) {
  return 64 * 4 * key_words<type>(head_dim);
}
template <KvType type>
QUERN_DEVICE int value_code_bytes(int value_dim) {
  return 64 * value_columns<type>(value_dim) / (type == KvType::kQ8 ? 1 : 2);
}

/// A number of the plain types.
template <KvType type>
QUERN_DEVICE float load_number(const std::byte* from, int at) {
  if constexpr (type == KvType::kF32) {
    return reinterpret_cast<const float*>(from)[at];
  } else {
    const unsigned short word = reinterpret_cast<const unsigned short*>(from)[at];
    return type == KvType::kF16 ? f16_to_f32(word) : bf16_to_f32(word);
  }
}
template <KvType type>
QUERN_DEVICE void store_number(std::byte* to, int at, float x) {
  if constexpr (type == KvType::kF32) {
    reinterpret_cast<float*>(to)[at] = x;
  } else {
    reinterpret_cast<unsigned short*>(to)[at] =
        type == KvType::kF16 ? f32_to_f16(x) : f32_to_bf16(x);
  }
}
template <KvType type>
inline constexpr int kNumberBytes = type == KvType::kF32 ? 4 : 2;

}  // namespace quern::backends::cuda
