/// \file
/// Keys and values of a KV block as lanes, and how a position is appended (layouts: kv_layout.h).
#pragma once

#include "kernels/generic/pack.h"
#include "kernels/generic/vector_ops.h"
#include "kernels/kv_layout.h"

namespace quern::kernels {
namespace {

/// Codes of a vector: calls put(d, code) for d < round_up(n, 16), zeros beyond n; returns the
/// scale.
template <class Isa, class Put>
QUERN_INLINE float pack_vector(const float* x, std::int64_t n, float limit, Put put) {
  using V = typename Isa::V;
  typename V::Int top = V::Int::all(0);
  for (std::int64_t d = 0; d < n; d += 16) {
    top = larger(top, magnitude_bits(Pack<Isa>::padded(x, d, n)));
  }
  const CodeFactor rule = code_factor<V>(top, limit);
  for (std::int64_t d = 0; d < n; d += 16) {
    std::int32_t codes[16];
    codes_of(Pack<Isa>::padded(x, d, n), rule.factor).store(codes);
    for (int i = 0; i < 16; ++i) put(d + i, codes[i]);
  }
  return rule.scale;
}

template <class Isa, KvType type>
struct KvLanes {
  using V = typename Isa::V;
  static constexpr std::int64_t kBytes = type == KvType::kF32 ? 4 : 2;

  /// 16 floats of a plain type.
  static QUERN_INLINE V load(const std::byte* p) {
    if constexpr (type == KvType::kF32) return V::load(reinterpret_cast<const float*>(p));
    if constexpr (type == KvType::kF16) return Isa::load_halves(p);
    if constexpr (type == KvType::kBF16) return Isa::load_brain_halves(p);
  }

  /// Elements d … d+15 of the values at `row`; codes as numbers. d is a multiple of 16.
  static QUERN_INLINE V value(const std::byte* row, std::int64_t d) {
    if constexpr (type == KvType::kQ8) {
      return Isa::load_signed_bytes(row + d);
    } else if constexpr (type == KvType::kQ4) {
      const std::byte* pair = row + 16 * (d / 32);
      return d % 32 == 0 ? Isa::template load_nibbles<0>(pair)
                         : Isa::template load_nibbles<1>(pair);
    } else {
      return load(row + kBytes * d);
    }
  }

  /// Exact sums of codes of W queries `[hd/4][W][4]` and of the keys of positions 16g … 16g+15.
  template <int W>
  static QUERN_INLINE void dots(const std::byte* keys, std::int64_t hd, int g,
                                const std::byte* query, std::int32_t (&sums)[W][16]) {
    constexpr std::int64_t kStep = type == KvType::kQ8 ? 4 : 8;
    const std::int64_t steps = (hd + kStep - 1) / kStep;
    const std::byte* cell = keys + 64 * steps * g;
    for (int part = 0; part < Isa::kParts; ++part, cell += 4 * Isa::kRows) {
      typename Isa::I acc[W];
      each<W>([&](auto i) QUERN_INLINE_LAMBDA { acc[i] = Isa::zero_ints(); });
      for (std::int64_t u = 0; u < steps; ++u) {
        const auto codes = Isa::load_codes(cell + 64 * u);
        const std::byte* q = query + kStep * W * u;
        if constexpr (type == KvType::kQ8) {
          const auto wide = Isa::signed_wide(codes);
          each<W>([&](auto i) QUERN_INLINE_LAMBDA {
            acc[i] = Isa::signed_dot(acc[i], wide, Isa::broadcast_codes(q + 4 * i));
          });
        } else {
          // Codes + 8 as nibbles: below d = 8u … 8u+3, above the next four.
          const auto low = Isa::signed_wide(Isa::minus_8(Isa::low_nibbles(codes)));
          const auto high = Isa::signed_wide(Isa::minus_8(Isa::high_nibbles(codes)));
          each<W>([&](auto i) QUERN_INLINE_LAMBDA {
            acc[i] = Isa::signed_dot(acc[i], low, Isa::broadcast_codes(q + 4 * i));
            acc[i] = Isa::signed_dot(acc[i], high, Isa::broadcast_codes(q + 4 * (W + i)));
          });
        }
      }
      each<W>([&](auto i)
                  QUERN_INLINE_LAMBDA { Isa::store_ints(sums[i] + Isa::kRows * part, acc[i]); });
    }
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

  static void plain(const KvStoreArgs& args, std::byte* key, std::byte* value, std::int64_t j) {
    std::byte* to = key + kBytes * (j / 16 * args.head_dim * 16 + j % 16);
    for (std::int64_t d = 0; d < args.head_dim; d += 16) {
      std::byte lanes[64];
      store(lanes, Pack<Isa>::padded(args.key, d, args.head_dim));
      for (std::int64_t i = 0; i < 16 && d + i < args.head_dim; ++i, to += kBytes * 16) {
        std::memcpy(to, lanes + kBytes * i, static_cast<std::size_t>(kBytes));
      }
    }
    to = value + j * value_row_bytes<type>(args.value_dim);
    for (std::int64_t d = 0; d < args.value_dim; d += 16, to += kBytes * 16) {
      store(to, Pack<Isa>::padded(args.value, d, args.value_dim));
    }
  }

  static void q8(const KvStoreArgs& args, std::byte* key, std::byte* value, std::int64_t j) {
    const std::int64_t groups = round_up(args.head_dim, 4) / 4;
    const float sk = pack_vector<Isa>(args.key, args.head_dim, 127.0f, [&](std::int64_t d, int c) {
      if (d >= 4 * groups) return;
      key[((j / 16 * groups + d / 4) * 16 + j % 16) * 4 + d % 4] = static_cast<std::byte>(c & 255);
    });
    put_scale(key + key_code_bytes<type>(args.head_dim), j, sk);
    const std::int64_t row = value_row_bytes<type>(args.value_dim);
    const float sv = pack_vector<Isa>(
        args.value, args.value_dim, 127.0f,
        [&](std::int64_t d, int c) { value[j * row + d] = static_cast<std::byte>(c & 255); });
    put_scale(value + 64 * row, j, sv);
  }

  /// Two codes of a byte arrive apart, so the bytes are first filled with zeros.
  static QUERN_INLINE void put_nibble(std::byte& to, bool high, int code) {
    const auto nibble = static_cast<unsigned>((code + 8) & 15);
    to |= static_cast<std::byte>(high ? nibble << 4 : nibble);
  }

  static void q4(const KvStoreArgs& args, std::byte* key, std::byte* value, std::int64_t j) {
    const std::int64_t groups = round_up(args.head_dim, 8) / 8;
    std::byte* cell = key + (j / 16 * groups * 16 + j % 16) * 4;
    for (std::int64_t u = 0; u < groups; ++u) std::memset(cell + 64 * u, 0, 4);
    const float sk = pack_vector<Isa>(args.key, args.head_dim, 7.0f, [&](std::int64_t d, int c) {
      if (d < 8 * groups) put_nibble(cell[64 * (d / 8) + d % 4], d % 8 >= 4, c);
    });
    put_scale(key + key_code_bytes<type>(args.head_dim), j, sk);
    const std::int64_t row = value_row_bytes<type>(args.value_dim);
    std::byte* to = value + j * row;
    std::memset(to, 0, static_cast<std::size_t>(row));
    const float sv = pack_vector<Isa>(args.value, args.value_dim, 7.0f, [&](std::int64_t d, int c) {
      put_nibble(to[16 * (d / 32) + d % 16], d % 32 >= 16, c);
    });
    for (std::int64_t d = round_up(args.value_dim, 16); d < 2 * row; ++d) {
      put_nibble(to[16 * (d / 32) + d % 16], d % 32 >= 16, 0);
    }
    put_scale(value + 64 * row, j, sv);
  }

  static QUERN_INLINE void put_scale(std::byte* scales, std::int64_t j, float scale) {
    std::memcpy(scales + 4 * j, &scale, sizeof scale);
  }

  static void run(const KvStoreArgs& args) {
    const std::int64_t block = args.pos / kKvBlock, j = args.pos % kKvBlock;
    std::byte* key = args.head.k + block * args.head.k_block_bytes;
    std::byte* value = args.head.v + block * args.head.v_block_bytes;
    if constexpr (type == KvType::kQ8) {
      q8(args, key, value, j);
    } else if constexpr (type == KvType::kQ4) {
      q4(args, key, value, j);
    } else {
      plain(args, key, value, j);
    }
  }
};

}  // namespace
}  // namespace quern::kernels
