/// \file
/// What both shapes of attention share (order of arithmetic: kernel_table.h, AttentionArgs).
#pragma once

#include "kernels/generic/kv_lanes.h"

namespace quern::kernels {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr float kCodeUnit = 1.0f / 127.0f;
constexpr float kMagic = 12582912.0f;  // 1.5·2²³: adding it rounds to an integer, ties to even.
constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// Positions of a block.
struct Span {
  std::int64_t from, to;
};

/// Visible positions of a query in the block that begins at `first`; from ≥ to where there are
/// none.
QUERN_INLINE Span visible_in(const AttentionArgs& args, std::int64_t i, std::int64_t first) {
  return {args.begin[i] > first ? args.begin[i] - first : 0,
          args.end[i] < first + kKvBlock ? args.end[i] - first : kKvBlock};
}

/// Whether scores are more than a product.
QUERN_INLINE bool shaped(const AttentionArgs& args) {
  return args.softcap > 0.0f || args.alibi_slope != nullptr || args.bias != nullptr;
}

/// Memory handed out in pieces of 64 bytes.
struct Carver {
  std::byte* at;
  template <class T>
  T* take(std::int64_t count) {
    auto* piece = reinterpret_cast<T*>(at);
    at += round_up(count * static_cast<std::int64_t>(sizeof(T)), 64);
    return piece;
  }
};

/// A block of coded keys and values as q8 lays them out, with its scales.
struct CodedBlock {
  const std::byte* keys;    ///< `[4][steps][16][4]`
  const std::byte* values;  ///< `[16][columns][4]`
  const float* key_scale;
  const float* value_exponent;
};

/// Steps of four elements of a coded key, and the elements of a coded value, padding included.
QUERN_INLINE std::int64_t key_steps(KvType type, std::int64_t hd) {
  return type == KvType::kQ8 ? round_up(hd, 4) / 4 : round_up(hd, 8) / 4;
}
QUERN_INLINE std::int64_t value_columns(KvType type, std::int64_t vd) {
  return type == KvType::kQ8 ? round_up(vd, 16) : round_up(vd, 32);
}

/// Nibbles to codes: `cells` of 64 bytes, each to two of 64.
template <class Isa>
void expand_nibbles(const std::byte* from, std::int64_t cells, std::byte* to) {
  constexpr int kBytes = 4 * Isa::kRows;
  for (std::int64_t i = 0; i < cells; ++i, from += 64, to += 128) {
    for (int part = 0; part < 64; part += kBytes) {
      const auto codes = Isa::load_codes(from + part);
      Isa::store_codes(to + part, Isa::template minus<8>(Isa::low_nibbles(codes)));
      Isa::store_codes(to + 64 + part, Isa::template minus<8>(Isa::high_nibbles(codes)));
    }
  }
}

/// Block b; nibbles are laid out anew in `keys` and `values`.
template <class Isa, KvType type>
CodedBlock coded_block(const AttentionArgs& args, std::int64_t b, std::byte* keys,
                       std::byte* values) {
  const std::byte* k = key_block(args.head, b);
  const std::byte* v = value_block(args.head, b);
  const std::int64_t value_bytes = 64 * value_row_bytes<type>(args.value_dim);
  CodedBlock block{k, v, reinterpret_cast<const float*>(k + key_code_bytes<type>(args.head_dim)),
                   reinterpret_cast<const float*>(v + value_bytes)};
  if constexpr (type == KvType::kQ4) {
    expand_nibbles<Isa>(k, key_code_bytes<type>(args.head_dim) / 64, keys);
    expand_nibbles<Isa>(v, value_bytes / 64, values);
    block.keys = keys;
    block.values = values;
  }
  return block;
}

/// Asks memory for a block that will be read next.
QUERN_INLINE void ask_for_block(const KvHead& head, std::int64_t b) {
  const std::byte* at = key_block(head, b);
  for (std::int64_t i = 0; i < head.block_bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
}

/// r_j of 16 positions from j on.
template <class V>
QUERN_INLINE V inverse_scale(const CodedBlock& block, std::int64_t j) {
  const V exponent = V::all(0.0f) - V::load(block.value_exponent + j);
  return fma(V::load(block.key_scale + j), V::all(0.0f), exp2_of(exponent));
}

/// s with the cap.
template <class V>
QUERN_INLINE V capped(const AttentionArgs& args, V s) {
  if (!(args.softcap > 0.0f)) return s;
  const V cap = V::all(args.softcap);
  return cap * tanh_of(s / cap);
}

/// M from the largest x.
template <class V>
QUERN_INLINE V reference_of(V top) {
  const V zero = V::all(0.0f);
  return fma(top, zero, top + zero);
}

/// The weight of coded values, x − M given.
template <class V>
QUERN_INLINE V coded_weight(V below) {
  return exp2_short(larger_of(V::all(-126.0f), below));
}

/// rint(127·w) in the low bits.
template <class V>
QUERN_INLINE typename V::Int weight_code(V w) {
  return bits(fma(w, V::all(127.0f), V::all(kMagic)));
}

}  // namespace
}  // namespace quern::kernels
