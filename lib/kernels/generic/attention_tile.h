/// \file
/// Attention of many queries: the lanes are queries, so nothing is reduced across lanes, and both
/// products are tiles of registers like those of a linear layer.
///
/// `width` is the number of queries, rounded up to 16; the lanes beyond see what query 0 sees.
/// State: m `[width]`, l `[width]`, acc `[vd16][width]`.
#pragma once

#include "kernels/generic/attention_rule.h"
#include "kernels/generic/pack_turn.h"

namespace quern::kernels {
namespace {

/// What a call keeps in its scratch. Arrays without a shape are per query.
struct TileWork {
  KvType type;
  std::int64_t width;
  std::byte* query;         ///< Coded: codes + 128 `[steps][width][4]`; plain: f32 `[hd][width]`.
  float* unit;              ///< Scale of a product's unit: what turns it into a score.
  float* factor;            ///< unit·log2e
  float* last;              ///< end − 1
  float* slope;             ///< ALiBi.
  float* from;              ///< Visible positions of the present block.
  float* to;                ///< As `from`: one past the last.
  Span seen_by_all;         ///< Absolute positions.
  bool whole;               ///< All queries see all of the present block.
  float* largest;           ///< max x
  float* old_part;          ///< f of the merge.
  float* new_part;          ///< h of the merge (g of spans).
  float* score;             ///< `[64][width]`: x, plain: then w, −1 where invisible.
  std::byte* code;          ///< `[16][width][4]`: codes of weights.
  float* inverse;           ///< `[64]`: r of kernel_table.h.
  std::int32_t* key_start;  ///< `[64]`: with what a key's products begin (Isa::kStartsWide).
  std::byte* keys;          ///< A block laid out anew.
  std::byte* values;        ///< As `keys`.
  float* span;              ///< State of the present span.
  bool fresh;               ///< Nothing is in acc of the span: it counts as 0.
  float* rotated;           ///< A query on its way into codes.

  template <class T>
  T* m(T* state) const {
    return state;
  }
  template <class T>
  T* l(T* state) const {
    return state + width;
  }
  template <class T>
  T* acc(T* state) const {
    return state + 2 * width;
  }
};

/// Merging and finishing states of many queries.
template <class Isa>
struct TileState {
  using V = typename Isa::V;

  /// Merge factors of 16 queries, for what begins with (m_b, l_b); those with `seen` = 0 keep
  /// their state: x·1 + 0·(−0) is x whatever its sign.
  static QUERN_INLINE void merge_factors(const TileWork& work, float* state, std::int64_t at,
                                         const V& m_b, const V& l_b, const V& seen, float unit) {
    const V one = V::all(1.0f), half = V::all(0.5f);
    const V m = V::load(work.m(state) + at);
    const V top = larger_of(m, m_b);
    const V f = select(less(half, seen), exp2_of(m - top), one);
    V g = exp2_of(m_b - top);
    const V l = fma(V::load(work.l(state) + at), f, l_b * g);
    if (unit != 1.0f) g = g * V::all(unit);
    select(less(half, seen), top, m).store(work.m(state) + at);
    select(less(half, seen), l, V::load(work.l(state) + at)).store(work.l(state) + at);
    f.store(work.old_part + at);
    select(less(half, seen), g, V::all(-0.0f)).store(work.new_part + at);
  }

  static void merge_spans(const TileWork& work, std::int64_t vd, float* total, const float* span) {
    const V one = V::all(1.0f), least = V::all(std::numeric_limits<float>::denorm_min());
    for (std::int64_t at = 0; at < work.width; at += 16) {
      const V l = V::load(work.l(span) + at);  // ≥ 0 or NaN
      merge_factors(work, total, at, V::load(work.m(span) + at), l,
                    select(less(l, least), V::all(0.0f), one), 1.0f);
      const V f = V::load(work.old_part + at), g = V::load(work.new_part + at);
      for (std::int64_t d = 0; d < round_up(vd, 16); ++d) {
        float* to = work.acc(total) + d * work.width + at;
        fma(V::load(to), f, V::load(work.acc(span) + d * work.width + at) * g).store(to);
      }
    }
  }

  static void merge_spans(std::int64_t queries, std::int64_t vd, float* total, const float* span) {
    float old_part[kMaxQueries], new_part[kMaxQueries];
    TileWork work{};
    work.width = state_width(queries);
    work.old_part = old_part;
    work.new_part = new_part;
    merge_spans(work, vd, total, span);
  }

  static void finish(std::int64_t queries, std::int64_t vd, const float* state, float* const* out) {
    const std::int64_t width = state_width(queries);
    const float* acc = state + 2 * width;
    const V zero = V::all(0.0f);
    for (std::int64_t at = 0; at < queries; at += 16) {
      const std::int64_t count = queries - at < 16 ? queries - at : 16;
      const V l = V::load(state + width + at), r = V::all(1.0f) / l;
      const auto empty = less(l, V::all(std::numeric_limits<float>::denorm_min()));
      for (std::int64_t d = 0; d < vd; d += 16) {
        V v[16];
        each<16>([&](auto i) QUERN_INLINE_LAMBDA {
          v[i] = select(empty, zero, fma(V::load(acc + (d + i) * width + at), r, zero));
        });
        PackTurn<Isa>::square(v);
        for (std::int64_t q = 0; q < count; ++q) {
          float* const to = out[at + q] + d;
          vd - d < 16 ? v[q].store_first(to, vd - d) : v[q].store(to);
        }
      }
    }
  }
};

/// `Products` (coded or plain) packs queries, forms scores and adds weighed values.
template <class Isa, class Products>
struct AttentionTile {
  using V = typename Isa::V;
  using State = TileState<Isa>;

  static TileWork carve(const AttentionArgs& args, KvType type) {
    TileWork work{};
    work.type = type;
    Carver memory{args.scratch};
    const std::int64_t width = round_up(args.n_queries, 16);
    work.width = width;
    work.query = memory.take<std::byte>(4 * round_up(args.head_dim, 16) * width);
    for (float** each_query : {&work.unit, &work.factor, &work.last, &work.slope, &work.from,
                               &work.to, &work.largest, &work.old_part, &work.new_part}) {
      *each_query = memory.take<float>(width);
    }
    work.score = memory.take<float>(64 * width);
    work.code = memory.take<std::byte>(64 * width);
    work.inverse = memory.take<float>(64);
    work.key_start = memory.take<std::int32_t>(64);
    work.keys = memory.take<std::byte>(64 * 4 * round_up(args.head_dim, 16));
    work.values = memory.take<std::byte>(64 * 4 * round_up(args.value_dim, 32));
    work.span = memory.take<float>((2 + round_up(args.value_dim, 16)) * width);
    work.rotated = memory.take<float>(round_up(args.head_dim, 16));
    for (std::int64_t i = 0; i < width; ++i) {
      const std::int64_t like = i < args.n_queries ? i : 0;
      work.last[i] = static_cast<float>(args.end[like] - 1);
      work.slope[i] = args.alibi_slope == nullptr ? 0.0f : args.alibi_slope[like];
    }
    work.seen_by_all = {args.begin[0], args.end[0]};
    for (std::int64_t i = 1; i < args.n_queries; ++i) {
      Span& all = work.seen_by_all;
      all.from = all.from > args.begin[i] ? all.from : args.begin[i];
      all.to = all.to < args.end[i] ? all.to : args.end[i];
    }
    return work;
  }

  /// Where position j is visible: `yes`, else `no`, for the 16 queries from `at` on.
  static QUERN_INLINE V where_visible(const TileWork& work, std::int64_t at, std::int64_t j,
                                      const V& yes, const V& no) {
    const V position = V::all(static_cast<float>(j));
    return select(less(position, V::load(work.from + at)), no,
                  select(less(position, V::load(work.to + at)), yes, no));
  }

  /// Sets `from` and `to` of all lanes; returns the positions that some query sees, and in `edge`
  /// whether some does not see all of the block.
  static Span look(const AttentionArgs& args, TileWork& work, std::int64_t first, bool* edge) {
    *edge = false;
    const bool was_whole = work.whole;
    work.whole = work.seen_by_all.from <= first && first + kKvBlock <= work.seen_by_all.to;
    if (work.whole && was_whole) return {0, kKvBlock};
    Span all{kKvBlock, 0};
    for (std::int64_t i = 0; i < work.width; ++i) {
      const Span visible = visible_in(args, i < args.n_queries ? i : 0, first);
      const bool some = visible.from < visible.to;
      work.from[i] = some ? static_cast<float>(visible.from) : 0.0f;
      work.to[i] = some ? static_cast<float>(visible.to) : 0.0f;
      *edge = *edge || visible.from > 0 || visible.to < kKvBlock;
      if (!some) continue;
      all.from = all.from < visible.from ? all.from : visible.from;
      all.to = all.to > visible.to ? all.to : visible.to;
    }
    return all;
  }

  /// What 16 queries from `at` on gain with a position; lanes beyond as query 0.
  static QUERN_INLINE V biases(const AttentionArgs& args, std::int64_t at, std::int64_t position) {
    alignas(64) float lanes[16];
    for (std::int64_t i = 0; i < 16; ++i) {
      lanes[i] = args.bias[at + i < args.n_queries ? at + i : 0][position];
    }
    return V::load(lanes);
  }

  /// Scores of positions [begin, end) that are more than a product, or not visible to all.
  static void shape(const AttentionArgs& args, const TileWork& work, std::int64_t first,
                    std::int64_t begin, std::int64_t end, const float* exponent) {
    const V lowest = V::all(kLowest);
    for (std::int64_t at = 0; at < work.width; at += 16) {
      V top = lowest;
      for (std::int64_t j = begin; j < end; ++j) {
        float* score = work.score + j * work.width + at;
        V x = V::load(score);
        if (shaped(args)) {
          V s = capped(args, x * V::load(work.unit + at));
          if (args.alibi_slope != nullptr) {
            const V distance = V::all(static_cast<float>(first + j)) - V::load(work.last + at);
            s = s + V::load(work.slope + at) * distance;
          }
          if (args.bias != nullptr) s = s + biases(args, at, first + j);
          x = Products::exponent_of(s, exponent, j);
        }
        x = where_visible(work, at, j, x, lowest);
        x.store(score);
        top = larger_of(top, x);
      }
      top.store(work.largest + at);
    }
  }

  /// The four lanes 4a … 4a+3 of l_b of 16 queries: weights of positions 16g+4a … 16g+4a+3 for
  /// the groups g that hold fours [begin, end).
  template <bool kEdge>
  static QUERN_INLINE void weigh_fours(const TileWork& work, std::int64_t at, int a,
                                       std::int64_t begin, std::int64_t end, const V& m_b,
                                       V (&sum)[4]) {
    each<4>([&](auto k) QUERN_INLINE_LAMBDA { sum[k] = V::all(0.0f); });
    for (std::int64_t u = begin / 4 * 4 + a; u < end; u += 4) {
      if (u < begin) continue;
      V w[4];
      each<4>([&](auto k) QUERN_INLINE_LAMBDA {
        const std::int64_t j = 4 * u + k;
        const V x = V::load(work.score + j * work.width + at);
        w[k] = Products::weight(x - m_b);
        const V more = Products::add_weight(w[k], work, j, sum[k]);
        sum[k] = kEdge ? where_visible(work, at, j, more, sum[k]) : more;
        if (kEdge) w[k] = where_visible(work, at, j, w[k], V::all(Products::kInvisible));
      });
      Products::put_weights(work, u, at, w);
    }
  }

  /// Turns scores into weights and merges m and l of 16 queries into the span.
  template <bool kEdge>
  static void weigh(const TileWork& work, std::int64_t at, std::int64_t begin, std::int64_t end) {
    const V m_b = reference_of(V::load(work.largest + at));
    V a[4], b[4];
    weigh_fours<kEdge>(work, at, 0, begin, end, m_b, a);
    weigh_fours<kEdge>(work, at, 2, begin, end, m_b, b);
    each<4>([&](auto k) QUERN_INLINE_LAMBDA { a[k] = a[k] + b[k]; });
    V c[4];
    weigh_fours<kEdge>(work, at, 1, begin, end, m_b, b);
    weigh_fours<kEdge>(work, at, 3, begin, end, m_b, c);
    each<4>([&](auto k) QUERN_INLINE_LAMBDA { a[k] = a[k] + (b[k] + c[k]); });
    const V l_b = (a[0] + a[2]) + (a[1] + a[3]), one = V::all(1.0f);
    const V seen = select(less(V::load(work.from + at), V::load(work.to + at)), one, V::all(0.0f));
    State::merge_factors(work, work.span, at, m_b, l_b, seen, Products::kUnit);
  }

  /// \return whether some query sees of it.
  static bool block(const AttentionArgs& args, TileWork& work, std::int64_t b) {
    const std::int64_t first = b * kKvBlock;
    bool edge = false;
    const Span all = look(args, work, first, &edge);
    if (all.from >= all.to) return false;
    if (b + 1 < args.block_end) ask_for_block(args.head, b + 1);
    const auto here = Products::open(args, work, b);
    const std::int64_t begin = all.from / 16 * 16, end = round_up(all.to, 16);
    Products::scores(args, work, here, begin, end, shaped(args));
    if (edge || shaped(args)) shape(args, work, first, begin, end, here.value_exponent);
    for (std::int64_t at = 0; at < work.width; at += 16) {
      if (edge) {
        weigh<true>(work, at, all.from / 4, (all.to + 3) / 4);
      } else {
        weigh<false>(work, at, 0, 16);
      }
    }
    Products::add_values(args, work, here, all, edge);
    return true;
  }

  static void start_sums(const TileWork& work, float* state, const float* sink,
                         std::int64_t queries) {
    for (std::int64_t i = 0; i < work.width; ++i) {
      const bool given = sink != nullptr && i < queries;
      work.m(state)[i] = given ? sink[i] * kLog2E : kLowest;
      work.l(state)[i] = given ? 1.0f : 0.0f;
    }
  }
  static void start(const TileWork& work, std::int64_t vd, float* state, const float* sink,
                    std::int64_t queries) {
    start_sums(work, state, sink, queries);
    float* acc = work.acc(state);
    const V zero = V::all(0.0f);
    for (std::int64_t i = 0; i < round_up(vd, 16) * work.width; i += 16) zero.store(acc + i);
  }

  /// One function for all types of a kind, which differ in how a block is opened.
  static void run(const AttentionArgs& args, KvType type) {
    TileWork work = carve(args, type);
    Products::pack_queries(args, work);
    float* total = args.state;
    start(work, args.value_dim, total, args.sink, args.n_queries);
    for (std::int64_t b = args.block_begin; b < args.block_end;) {
      start_sums(work, work.span, nullptr, 0);
      work.fresh = true;
      const std::int64_t span_end = (b / kSpanBlocks + 1) * kSpanBlocks;
      const std::int64_t end = span_end < args.block_end ? span_end : args.block_end;
      for (; b < end; ++b) work.fresh = !block(args, work, b) && work.fresh;
      if (!work.fresh) State::merge_spans(work, args.value_dim, total, work.span);
      if (!args.spans_apart || b == args.block_end) continue;
      total += attention_state_floats(args.n_queries, args.value_dim);
      start(work, args.value_dim, total, nullptr, 0);
    }
  }
};

}  // namespace
}  // namespace quern::kernels
