/// \file
/// Products of many queries with coded keys and values: whole numbers, one rounding per block.
#pragma once

#include "kernels/generic/attention_tile.h"

namespace quern::kernels {
namespace {

template <class Isa>
struct CodedProducts {
  using V = typename Isa::V;
  using I = typename Isa::I;
  using F = typename Isa::F;
  static constexpr float kInvisible = 0.0f, kUnit = kCodeUnit;
  static constexpr int kTile = Isa::kTile;

  static QUERN_INLINE F one_number(const float* x) {
    return Isa::broadcast(reinterpret_cast<const std::byte*>(x));
  }

  /// Sixteen steps of sixteen queries are a square: each query's codes are put side by side in a
  /// line of it, then it is turned.
  static void pack_queries(const AttentionArgs& args, const TileWork& work) {
    const std::int64_t steps = key_steps(work.type, args.head_dim);
    for (std::int64_t at = 0; at < work.width; at += 16) {
      const auto line = [&](std::int64_t u)
                            QUERN_INLINE_LAMBDA { return work.query + 4 * (u * work.width + at); };
      for (std::int64_t i = 0; i < 16; ++i) {
        const std::int64_t query = at + i;
        Pack<Isa>::rotated_vector(args.q[query < args.n_queries ? query : 0], args.head_dim,
                                  work.rotated);
        const CodeFactor rule = vector_factor<Isa>(work.rotated, args.head_dim, 127.0f);
        for (std::int64_t u = 0; u < steps; u += 4) {
          vector_codes<Isa>(work.rotated, 4 * u, args.head_dim, rule.factor,
                            line(u / 16 * 16 + i) + 4 * (u % 16));
        }
        work.unit[query] = rule.scale * args.scale;
        work.factor[query] = work.unit[query] * kLog2E;
      }
      for (std::int64_t u = 0; u < steps; u += 16) turn_codes(line(u), 4 * work.width);
    }
  }

  /// A square of codes, which become codes + 128.
  static void turn_codes(std::byte* first, std::int64_t line_bytes) {
    const auto line = [&](std::int64_t i) QUERN_INLINE_LAMBDA {
      return reinterpret_cast<float*>(first + i * line_bytes);
    };
    V v[16];
    each<16>([&](auto i) QUERN_INLINE_LAMBDA { v[i] = V::load(line(i)); });
    PackTurn<Isa>::square(v);
    const auto sign = V::Int::all(static_cast<std::int32_t>(0x80808080));
    each<16>([&](auto i) QUERN_INLINE_LAMBDA { from_bits(bits(v[i]) ^ sign).store(line(i)); });
  }

  static CodedBlock open(const AttentionArgs& args, const TileWork& work, std::int64_t b) {
    const CodedBlock block = work.type == KvType::kQ4
                                 ? coded_block<Isa, KvType::kQ4>(args, b, work.keys, work.values)
                                 : coded_block<Isa, KvType::kQ8>(args, b, work.keys, work.values);
    for (std::int64_t j = 0; j < kKvBlock; j += 16) {
      inverse_scale<V>(block, j).store(work.inverse + j);
    }
    if constexpr (Isa::kStartsWide) {
      sum_keys(block.keys, key_steps(work.type, args.head_dim), work.key_start);
    }
    return block;
  }

  /// The starts of 64 keys, sixteen at a time side by side.
  static void sum_keys(const std::byte* keys, std::int64_t steps, std::int32_t* starts) {
    I sum[4 * Isa::kParts];
    each<4 * Isa::kParts>([&](auto i) QUERN_INLINE_LAMBDA { sum[i] = Isa::zero_ints(); });
    alignas(4) const std::byte ones[4] = {std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1}};
    for (std::int64_t u = 0; u < steps; ++u) {
      each<4 * Isa::kParts>([&](auto i) QUERN_INLINE_LAMBDA {
        const std::byte* cell = keys + 64 * (steps * (i.value / Isa::kParts) + u);
        sum[i] =
            Isa::positive_dot(sum[i], Isa::broadcast_codes(ones),
                              Isa::load_codes(cell + 4 * Isa::kRows * (i.value % Isa::kParts)));
      });
    }
    each<4 * Isa::kParts>([&](auto i) QUERN_INLINE_LAMBDA {
      Isa::store_ints(starts + Isa::kRows * i.value, Isa::wide_start_of(sum[i]));
    });
  }

  static QUERN_INLINE V exponent_of(const V& s, const float* exponent, std::int64_t j) {
    return fma(s, V::all(kLog2E), V::all(exponent[j]));
  }
  static QUERN_INLINE V weight(const V& below) { return coded_weight(below); }
  static QUERN_INLINE V add_weight(const V& w, const TileWork& work, std::int64_t j, const V& sum) {
    return fma(w, V::all(work.inverse[j]), sum);
  }

  /// Packs the codes of four positions into the bytes of each lane: the bits of kMagic drop out.
  static QUERN_INLINE void put_weights(const TileWork& work, std::int64_t u, std::int64_t at,
                                       const V (&w)[4]) {
    using Int = typename V::Int;
    const Int low = weight_code(w[0]) + weight_code(w[1]).template shift_left<8>();
    const Int high = weight_code(w[2]) + weight_code(w[3]).template shift_left<8>();
    const Int magic = Int::all(static_cast<std::int32_t>(0x8b400000u));
    (low + high.template shift_left<16>() - magic)
        .store(reinterpret_cast<std::int32_t*>(work.code + 4 * (u * work.width + at)));
  }

  /// x (or t) of kTile positions from j on, for P strips of queries from `at` on.
  template <int P, bool kWhole>
  static void score_tile(const TileWork& work, const CodedBlock& block, std::int64_t steps,
                         std::int64_t at, std::int64_t j) {
    I acc[P * kTile];
    each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
      I start = Isa::zero_ints();
      if constexpr (Isa::kStartsWide)
        start = Isa::broadcast_ints(reinterpret_cast<const std::byte*>(work.key_start + j + t));
      each<P>([&](auto p) QUERN_INLINE_LAMBDA { acc[p * kTile + t] = start; });
    });
    const std::byte* query = work.query + 4 * at;
    const std::byte* keys = block.keys + 64 * steps * (j / 16) + 4 * (j % 16);
    const std::int64_t stride = 4 * work.width;
    for (std::int64_t u = 0; u < steps; ++u, query += stride, keys += 64) {
      typename Isa::Wide q[P];
      each<P>([&](auto p) QUERN_INLINE_LAMBDA {
        q[p] = Isa::wide(Isa::load_codes(query + 4 * Isa::kRows * p.value));
      });
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        const auto key = Isa::broadcast_codes(keys + 4 * t.value);
        each<P>([&](auto p) QUERN_INLINE_LAMBDA {
          acc[p * kTile + t] = Isa::wide_dot(acc[p * kTile + t], q[p], key);
          Isa::keep(acc[p * kTile + t]);
        });
      });
    }
    each<P>([&](auto p) QUERN_INLINE_LAMBDA {
      const std::int64_t lane = at + Isa::kRows * p.value;
      const F factor = Isa::load(work.factor + lane);
      F top = Isa::load(work.largest + lane);
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        F x = Isa::mul(Isa::to_float(acc[p * kTile + t]), one_number(block.key_scale + j + t));
        if constexpr (kWhole) {
          x = Isa::fma(x, factor, one_number(block.value_exponent + j + t));
          top = Isa::larger(top, x);
        }
        Isa::store(work.score + (j + t) * work.width + lane, x);
      });
      Isa::store(work.largest + lane, top);
    });
  }

  template <int P>
  static QUERN_INLINE void score_strips(const TileWork& work, const CodedBlock& block,
                                        std::int64_t steps, std::int64_t at, std::int64_t begin,
                                        std::int64_t end, bool is_shaped) {
    if (is_shaped) {
      for (std::int64_t j = begin; j < end; j += kTile) {
        score_tile<P, false>(work, block, steps, at, j);
      }
    } else {
      for (std::int64_t j = begin; j < end; j += kTile) {
        score_tile<P, true>(work, block, steps, at, j);
      }
    }
  }

  /// Calls strips(Index<P>, first lane) for all lanes.
  template <class Strips>
  static QUERN_INLINE void for_strips(std::int64_t width, Strips strips) {
    std::int64_t at = 0;
    if constexpr (Isa::kStrips == 3) {
      for (; at + 3 * Isa::kRows <= width; at += 3 * Isa::kRows) strips(Index<3>{}, at);
    }
    for (; at + 2 * Isa::kRows <= width; at += 2 * Isa::kRows) strips(Index<2>{}, at);
    for (; at < width; at += Isa::kRows) strips(Index<1>{}, at);
  }

  static void scores(const AttentionArgs& args, const TileWork& work, const CodedBlock& block,
                     std::int64_t begin, std::int64_t end, bool is_shaped) {
    const std::int64_t steps = key_steps(work.type, args.head_dim);
    for (std::int64_t at = 0; at < work.width; at += 16) {
      V::all(kLowest).store(work.largest + at);
    }
    for_strips(work.width, [&](auto strips, std::int64_t at) QUERN_INLINE_LAMBDA {
      score_strips<strips.value>(work, block, steps, at, begin, end, is_shaped);
    });
  }

  /// acc = fma(acc, f, float(Σ codes of weights and values)·h) of kTile elements from d on.
  template <int P>
  static void value_tile(const TileWork& work, const std::byte* values, std::int64_t columns,
                         std::int64_t at, std::int64_t d, Span fours) {
    I sum[P * kTile];
    each<P * kTile>([&](auto k) QUERN_INLINE_LAMBDA { sum[k] = Isa::zero_ints(); });
    const std::int64_t stride = 4 * work.width;
    const std::byte* code = work.code + 4 * at + fours.from * stride;
    const std::byte* value = values + 4 * (fours.from * columns + d);
    for (std::int64_t u = fours.from; u < fours.to; ++u, code += stride, value += 4 * columns) {
      typename Isa::C w[P];
      each<P>([&](auto p)
                  QUERN_INLINE_LAMBDA { w[p] = Isa::load_codes(code + 4 * Isa::kRows * p.value); });
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        const auto four = Isa::broadcast_codes(value + 4 * t.value);
        each<P>([&](auto p) QUERN_INLINE_LAMBDA {
          sum[p * kTile + t] = Isa::positive_dot(sum[p * kTile + t], w[p], four);
          Isa::keep(sum[p * kTile + t]);
        });
      });
    }
    each<P>([&](auto p) QUERN_INLINE_LAMBDA {
      const std::int64_t lane = at + Isa::kRows * p.value;
      const F f = Isa::load(work.old_part + lane), h = Isa::load(work.new_part + lane);
      float* acc = work.acc(work.span) + lane;
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        float* to = acc + (d + t) * work.width;
        const F before = work.fresh ? Isa::zero() : Isa::load(to);
        Isa::store(to, Isa::fma(before, f, Isa::mul(Isa::to_float(sum[p * kTile + t]), h)));
      });
    });
  }

  static void add_values(const AttentionArgs& args, const TileWork& work, const CodedBlock& block,
                         Span all, bool) {
    const Span fours{all.from / 4, (all.to + 3) / 4};
    const std::int64_t columns = value_columns(work.type, args.value_dim);
    for_strips(work.width, [&](auto strips, std::int64_t at) QUERN_INLINE_LAMBDA {
      for (std::int64_t d = 0; d < args.value_dim; d += kTile) {
        value_tile<strips.value>(work, block.values, columns, at, d, fours);
      }
    });
  }
};

}  // namespace
}  // namespace quern::kernels
