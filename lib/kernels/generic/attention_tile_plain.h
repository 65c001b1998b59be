/// \file
/// Products of many queries with float keys and values: fma in order.
#pragma once

#include "kernels/generic/attention_tile.h"

namespace quern::kernels {
namespace {

/// Keys `[4][hd][16]` and values `[64][vd16]` as float32.
struct PlainBlock {
  const float* keys;
  const float* values;
  static constexpr const float* value_exponent = nullptr;
};

template <class Isa>
struct PlainProducts {
  using V = typename Isa::V;
  static constexpr float kInvisible = -1.0f, kUnit = 1.0f;
  static constexpr int kTile = Isa::kLanes >= 8 ? 8 : 4;
  static constexpr int kStrips = Isa::kLanes >= 8 ? 2 : 1;

  static void pack_queries(const AttentionArgs& args, const TileWork& work) {
    auto* const query = reinterpret_cast<float*>(work.query);
    for (std::int64_t at = 0; at < work.width; at += 16) {
      V::all(1.0f).store(work.unit + at);  // Scores leave scores() scaled.
      for (std::int64_t d = 0; d < args.head_dim; d += 16) {
        V v[16];
        each<16>([&](auto i) QUERN_INLINE_LAMBDA {
          const float* q = args.q[at + i < args.n_queries ? at + i : 0] + d;
          v[i] = args.head_dim - d < 16 ? V::load_first(q, args.head_dim - d) : V::load(q);
        });
        PackTurn<Isa>::square(v);
        each<16>([&](auto i)
                     QUERN_INLINE_LAMBDA { v[i].store(query + (d + i) * work.width + at); });
      }
    }
  }

  template <KvType type>
  static const float* widened(const std::byte* from, std::int64_t count, std::byte* to) {
    using Lanes = KvLanes<Isa, type>;
    auto* out = reinterpret_cast<float*>(to);
    for (std::int64_t i = 0; i < count; i += 16) {
      Lanes::load(from + Lanes::kBytes * i).store(out + i);
    }
    return out;
  }
  static const float* floats(KvType type, const std::byte* from, std::int64_t count,
                             std::byte* to) {
    if (type == KvType::kF16) return widened<KvType::kF16>(from, count, to);
    if (type == KvType::kBF16) return widened<KvType::kBF16>(from, count, to);
    return reinterpret_cast<const float*>(from);
  }

  static PlainBlock open(const AttentionArgs& args, const TileWork& work, std::int64_t b) {
    const std::int64_t values = 64 * round_up(args.value_dim, 16);
    return {floats(work.type, key_block(args.head, b), 64 * args.head_dim, work.keys),
            floats(work.type, value_block(args.head, b), values, work.values)};
  }

  static QUERN_INLINE V exponent_of(const V& s, const float*, std::int64_t) {
    return s * V::all(kLog2E);
  }
  static QUERN_INLINE V weight(const V& below) { return exp2_of(below); }
  static QUERN_INLINE V add_weight(const V& w, const TileWork&, std::int64_t, const V& sum) {
    return sum + w;
  }
  static QUERN_INLINE void put_weights(const TileWork& work, std::int64_t u, std::int64_t at,
                                       const V (&w)[4]) {
    each<4>([&](auto k)
                QUERN_INLINE_LAMBDA { w[k].store(work.score + (4 * u + k) * work.width + at); });
  }

  /// x (or the score) of kTile positions from j on, for P times 16 queries from `at` on.
  template <int P>
  static QUERN_INLINE void score_tile(const AttentionArgs& args, const TileWork& work,
                                      const PlainBlock& block, std::int64_t at, std::int64_t j,
                                      bool is_shaped) {
    V acc[P * kTile];
    each<P * kTile>([&](auto k) QUERN_INLINE_LAMBDA { acc[k] = V::all(0.0f); });
    const float* query = reinterpret_cast<const float*>(work.query) + at;
    const float* keys = block.keys + 16 * args.head_dim * (j / 16) + j % 16;
    for (std::int64_t d = 0; d < args.head_dim; ++d, query += work.width, keys += 16) {
      V q[P];
      each<P>([&](auto p) QUERN_INLINE_LAMBDA { q[p] = V::load(query + 16 * p.value); });
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        const V key = V::all(keys[t.value]);
        each<P>([&](auto p) QUERN_INLINE_LAMBDA {
          acc[p * kTile + t] = fma(q[p], key, acc[p * kTile + t]);
        });
      });
    }
    const V scale = V::all(args.scale), log2e = V::all(is_shaped ? 1.0f : kLog2E);
    each<P>([&](auto p) QUERN_INLINE_LAMBDA {
      V top = V::load(work.largest + at + 16 * p.value);
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        const V x = acc[p * kTile + t] * scale * log2e;
        x.store(work.score + (j + t) * work.width + at + 16 * p.value);
        top = larger_of(top, x);
      });
      top.store(work.largest + at + 16 * p.value);
    });
  }

  /// Calls strips(Index<P>, first lane) for all lanes.
  template <class Strips>
  static QUERN_INLINE void for_strips(std::int64_t width, Strips strips) {
    std::int64_t at = 0;
    for (; at + 16 * kStrips <= width; at += 16 * kStrips) strips(Index<kStrips>{}, at);
    for (; at < width; at += 16) strips(Index<1>{}, at);
  }

  static void scores(const AttentionArgs& args, const TileWork& work, const PlainBlock& block,
                     std::int64_t begin, std::int64_t end, bool is_shaped) {
    for (std::int64_t at = 0; at < work.width; at += 16) {
      V::all(kLowest).store(work.largest + at);
    }
    for_strips(work.width, [&](auto strips, std::int64_t at) QUERN_INLINE_LAMBDA {
      for (std::int64_t j = begin; j < end; j += kTile) {
        score_tile<strips.value>(args, work, block, at, j, is_shaped);
      }
    });
  }

  /// acc = fma(acc, f, o_b·h) of kTile elements from d on; o_b[d] = Σ fma(w, v) in order. Where
  /// `kEdge`, positions whose weight is kInvisible are left out.
  template <int P, bool kEdge>
  static QUERN_INLINE void value_tile(const TileWork& work, const float* values, std::int64_t row,
                                      std::int64_t at, std::int64_t d, Span all) {
    V sum[P * kTile];
    each<P * kTile>([&](auto k) QUERN_INLINE_LAMBDA { sum[k] = V::all(0.0f); });
    const float* weight = work.score + all.from * work.width + at;
    const float* value = values + all.from * row + d;
    for (std::int64_t j = all.from; j < all.to; ++j, weight += work.width, value += row) {
      V w[P];
      each<P>([&](auto p) QUERN_INLINE_LAMBDA { w[p] = V::load(weight + 16 * p.value); });
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        const V v = V::all(value[t.value]);
        each<P>([&](auto p) QUERN_INLINE_LAMBDA {
          const V more = fma(w[p], v, sum[p * kTile + t]);
          sum[p * kTile + t] =
              kEdge ? select(less(w[p], V::all(0.0f)), sum[p * kTile + t], more) : more;
        });
      });
    }
    each<P>([&](auto p) QUERN_INLINE_LAMBDA {
      const std::int64_t lane = at + 16 * p.value;
      const V f = V::load(work.old_part + lane), h = V::load(work.new_part + lane);
      each<kTile>([&](auto t) QUERN_INLINE_LAMBDA {
        float* to = work.acc(work.span) + (d + t) * work.width + lane;
        const V before = work.fresh ? V::all(0.0f) : V::load(to);
        fma(before, f, sum[p * kTile + t] * h).store(to);
      });
    });
  }

  static void add_values(const AttentionArgs& args, const TileWork& work, const PlainBlock& block,
                         Span all, bool edge) {
    const std::int64_t row = round_up(args.value_dim, 16);
    for_strips(work.width, [&](auto strips, std::int64_t at) QUERN_INLINE_LAMBDA {
      for (std::int64_t d = 0; d < args.value_dim; d += kTile) {
        if (edge) {
          value_tile<strips.value, true>(work, block.values, row, at, d, all);
        } else {
          value_tile<strips.value, false>(work, block.values, row, at, d, all);
        }
      }
    });
  }
};

}  // namespace
}  // namespace quern::kernels
