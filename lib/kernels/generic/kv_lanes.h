/// \file
/// Keys and values of a KV block as lanes, and how a position is appended (layouts: kv_layout.h).
#pragma once

#include "kernels/generic/pack.h"
#include "kernels/generic/vector_ops.h"
#include "kernels/kv_layout.h"

namespace quern::kernels {
namespace {

/// The factor and scale of the codes of a vector.
template <class Isa>
QUERN_INLINE CodeFactor vector_factor(const float* x, std::int64_t n, float limit) {
  using V = typename Isa::V;
  typename V::Int top = V::Int::all(0);
  for (std::int64_t d = 0; d < n; d += 16) {
    top = larger(top, magnitude_bits(Pack<Isa>::padded(x, d, n)));
  }
  return code_factor(Isa::largest(top), limit);
}

/// The same of values: their scale is at least kLeastValueScale and its log2 is returned.
template <class Isa>
QUERN_INLINE CodeFactor value_factor(const float* x, std::int64_t n, float limit) {
  using V = typename Isa::V;
  constexpr float kMostFactor = 1.0f / kLeastValueScale;
  const CodeFactor rule = vector_factor<Isa>(x, n, limit);
  const float scale = rule.scale < kLeastValueScale ? kLeastValueScale : rule.scale;
  float exponent[16];
  (log2_of(V::all(scale)) + V::all(scale - scale)).store(exponent);
  return {rule.factor > kMostFactor ? kMostFactor : rule.factor, exponent[0]};
}

/// 16 codes of a vector from d on, zeros beyond n.
template <class Isa>
QUERN_INLINE void vector_codes(const float* x, std::int64_t d, std::int64_t n, float factor,
                               std::byte* codes) {
  Isa::store_low8(codes, codes_of(Pack<Isa>::padded(x, d, n), factor));
}

/// Numbers of the plain types.
template <class Isa, KvType type>
struct KvLanes {
  using V = typename Isa::V;
  static constexpr std::int64_t kBytes = type == KvType::kF32 ? 4 : 2;

  /// 16 of them.
  static QUERN_INLINE V load(const std::byte* p) {
    if constexpr (type == KvType::kF32) return V::load(reinterpret_cast<const float*>(p));
    if constexpr (type == KvType::kF16) return Isa::load_halves(p);
    if constexpr (type == KvType::kBF16) return Isa::load_brain_halves(p);
  }
};

template <class Isa, KvType type>
struct KvStore {
  using V = typename Isa::V;
  static constexpr std::int64_t kBytes = KvLanes<Isa, type>::kBytes;

  /// 16 numbers in the plain type.
  static QUERN_INLINE void store(std::byte* to, const V& x) {
    if constexpr (type == KvType::kF32) x.store(reinterpret_cast<float*>(to));
    if constexpr (type == KvType::kF16) Isa::store_halves(to, x);
    if constexpr (type == KvType::kBF16) {
      using Int = typename V::Int;
      const Int b = bits(x);
      const Int odd = (b.template shift_right<16>()) & Int::all(1);
      const Int rounded = (b + Int::all(0x7fff) + odd).template shift_right<16>();
      const Int nan = b.template shift_right<16>() | Int::all(64);
      const V finite_or_infinite = from_bits(rounded);
      const auto is_number = less(V::all(0.5f), number_mark(x));
      Isa::store_low16(to, bits(select(is_number, finite_or_infinite, from_bits(nan))));
    }
  }
  /// 1 where x is a number, 0 where it is NaN.
  static QUERN_INLINE V number_mark(const V& x) {
    const V one = V::all(1.0f), zero = V::all(0.0f);
    const V below = select(less(x, one), one, zero);
    return select(less(V::all(0.5f), x), one, below);
  }

  /// Keys of 16 positions, of which the first is a multiple of 16: their squares are turned.
  static void sixteen_keys(const KvStoreArgs& args, std::byte* to) {
    for (std::int64_t d = 0; d < args.head_dim; d += 16) {
      V v[16];
      each<16>([&](auto i) QUERN_INLINE_LAMBDA {
        v[i] = Pack<Isa>::padded(args.key + i * args.key_stride, d, args.head_dim);
      });
      PackTurn<Isa>::square(v);
      const std::int64_t left = args.head_dim - d, n = left < 16 ? left : 16;
      for (std::int64_t i = 0; i < n; ++i, to += kBytes * 16) store(to, v[i]);
    }
  }

  static void plain_value(const KvStoreArgs& args, const float* from, std::byte* to) {
    for (std::int64_t d = 0; d < args.value_dim; d += 16, to += kBytes * 16) {
      store(to, Pack<Isa>::padded(from, d, args.value_dim));
    }
  }

  static void plain(const KvStoreArgs& args, std::byte* key, std::byte* value, std::int64_t j) {
    std::byte* to = key + kBytes * (j / 16 * args.head_dim * 16 + j % 16);
    for (std::int64_t d = 0; d < args.head_dim; d += 16) {
      std::byte lanes[64];
      store(lanes, Pack<Isa>::padded(args.key, d, args.head_dim));
      for (std::int64_t i = 0; i < 16 && d + i < args.head_dim; ++i, to += kBytes * 16) {
        std::memcpy(to, lanes + kBytes * i, static_cast<std::size_t>(kBytes));
      }
    }
    plain_value(args, args.value, value + j * value_row_bytes<type>(args.value_dim));
  }

  /// The key as its codes have it.
  static const float* rotated_key(const KvStoreArgs& args) {
    auto* rotated = reinterpret_cast<float*>(args.scratch);
    Pack<Isa>::rotated_vector(args.key, args.head_dim, rotated);
    return rotated;
  }

  static void q8(const KvStoreArgs& args, std::byte* key, std::byte* value, std::int64_t j) {
    alignas(16) std::byte codes[16];
    const std::int64_t groups = round_up(args.head_dim, 4) / 4;
    const float* rotated = rotated_key(args);
    const CodeFactor k = vector_factor<Isa>(rotated, args.head_dim, 127.0f);
    std::byte* cell = key + (j / 16 * groups * 16 + j % 16) * 4;
    for (std::int64_t u = 0; u < groups; ++u) {
      if (u % 4 == 0) vector_codes<Isa>(rotated, 4 * u, args.head_dim, k.factor, codes);
      std::memcpy(cell + 64 * u, codes + 4 * (u % 4), 4);
    }
    put_scale(key + key_code_bytes<type>(args.head_dim), j, k.scale);
    const CodeFactor v = value_factor<Isa>(args.value, args.value_dim, 127.0f);
    for (std::int64_t d = 0; d < args.value_dim; d += 16) {
      vector_codes<Isa>(args.value, d, args.value_dim, v.factor, codes);
      std::byte* to = value + q8_value_at(args.value_dim, j, d);
      for (int i = 0; i < 16; ++i) to[4 * i] = codes[i];
    }
    put_scale(value + 64 * value_row_bytes<type>(args.value_dim), j, v.scale);
  }

  /// Two codes as the nibbles code + 8 of a byte.
  static QUERN_INLINE std::byte nibbles(std::byte low, std::byte high) {
    const auto raise = [](std::byte code) QUERN_INLINE_LAMBDA {
      return (std::to_integer<unsigned>(code) + 8u) & 15u;
    };
    return static_cast<std::byte>(raise(low) | raise(high) << 4);
  }

  static void q4(const KvStoreArgs& args, std::byte* key, std::byte* value, std::int64_t j) {
    alignas(16) std::byte codes[32];
    const std::int64_t groups = round_up(args.head_dim, 8) / 8;
    const float* rotated = rotated_key(args);
    const CodeFactor k = vector_factor<Isa>(rotated, args.head_dim, 7.0f);
    std::byte* cell = key + (j / 16 * groups * 16 + j % 16) * 4;
    for (std::int64_t u = 0; u < groups; ++u) {
      if (u % 2 == 0) vector_codes<Isa>(rotated, 8 * u, args.head_dim, k.factor, codes);
      const std::byte* eight = codes + 8 * (u % 2);
      for (int i = 0; i < 4; ++i) cell[64 * u + i] = nibbles(eight[i], eight[4 + i]);
    }
    put_scale(key + key_code_bytes<type>(args.head_dim), j, k.scale);
    const CodeFactor v = value_factor<Isa>(args.value, args.value_dim, 7.0f);
    for (std::int64_t d = 0; d < args.value_dim; d += 32) {
      vector_codes<Isa>(args.value, d, args.value_dim, v.factor, codes);
      vector_codes<Isa>(args.value, d + 16, args.value_dim, v.factor, codes + 16);
      std::byte* to = value + q4_value_at(args.value_dim, j, d);
      for (int i = 0; i < 16; ++i) to[4 * i] = nibbles(codes[i], codes[16 + i]);
    }
    put_scale(value + 64 * value_row_bytes<type>(args.value_dim), j, v.scale);
  }

  static QUERN_INLINE void put_scale(std::byte* scales, std::int64_t j, float scale) {
    std::memcpy(scales + 4 * j, &scale, sizeof scale);
  }

  static void run(const KvStoreArgs& args) {
    KvStoreArgs left = args;
    while (left.count > 0) {
      const std::int64_t block = left.pos / kKvBlock, j = left.pos % kKvBlock;
      std::byte* key = key_block(left.head, block);
      std::byte* value = value_block(left.head, block);
      std::int64_t stored = 1;
      if constexpr (type == KvType::kQ8) {
        q8(left, key, value, j);
      } else if constexpr (type == KvType::kQ4) {
        q4(left, key, value, j);
      } else if (j % 16 == 0 && left.count >= 16) {
        stored = 16;
        sixteen_keys(left, key + kBytes * j * left.head_dim);
        for (std::int64_t i = 0; i < 16; ++i) {
          plain_value(left, left.value + i * left.value_stride,
                      value + (j + i) * value_row_bytes<type>(left.value_dim));
        }
      } else {
        plain(left, key, value, j);
      }
      left.pos += stored;
      left.count -= stored;
      left.key += stored * left.key_stride;
      left.value += stored * left.value_stride;
    }
  }
};

}  // namespace
}  // namespace quern::kernels
