/// \file
/// Attention over one KV head (order of arithmetic: kernel_table.h, AttentionArgs): up to four
/// queries at a time share the loads of keys and values. Lanes of Q·K are positions, lanes of P·V
/// are d.
///
/// `Isa` adds the loads of KV numbers to lanes, and kLanes, the Vec16 accumulators that fit.
#pragma once

#include "kernels/generic/kv_lanes.h"

namespace quern::kernels {
namespace {

template <class Isa, KvType type>
struct Attention {
  using V = typename Isa::V;
  using Lanes = KvLanes<Isa, type>;
  static constexpr bool kCoded = type == KvType::kQ8 || type == KvType::kQ4;

  /// The scratch of W queries.
  struct Work {
    float* score;   ///< `[W][64]`, then probabilities.
    float* weight;  ///< `[W][64]`, probabilities times the scales of values.
    float* out;     ///< `[W][vd32]`
    float* query;   ///< `[hd][W]` float32, or codes `[hd/4][W][4]`.
    std::int64_t vd32;
    float query_scale[4];
  };

  /// Visible positions of one query in the block.
  struct Span {
    std::int64_t from, to;
  };

  template <int W>
  static void pack_queries(const AttentionArgs& args, std::int64_t first, Work& work) {
    if constexpr (kCoded) {
      auto* codes = reinterpret_cast<std::byte*>(work.query);
      for (int i = 0; i < W; ++i) {
        work.query_scale[i] =
            pack_vector<Isa>(args.q[first + i], args.head_dim, 127.0f, [&](std::int64_t d, int c) {
              codes[(d / 4 * W + i) * 4 + d % 4] = static_cast<std::byte>(c & 255);
            });
      }
    } else {
      for (int i = 0; i < W; ++i) {
        for (std::int64_t d = 0; d < args.head_dim; ++d) {
          work.query[d * W + i] = args.q[first + i][d];
        }
      }
    }
  }

  /// Scores of positions 16g … 16g+15, before anything but the scales.
  template <int W>
  static QUERN_INLINE void scores(const AttentionArgs& args, const std::byte* keys, int g,
                                  const Work& work) {
    const V scale = V::all(args.scale);
    V s[W];
    if constexpr (kCoded) {
      std::int32_t sums[W][16];
      Lanes::template dots<W>(keys, args.head_dim, g, reinterpret_cast<std::byte*>(work.query),
                              sums);
      const float* key_scale =
          reinterpret_cast<const float*>(keys + key_code_bytes<type>(args.head_dim)) + 16 * g;
      const V sk = V::load(key_scale);
      each<W>([&](auto i) QUERN_INLINE_LAMBDA {
        s[i] = Isa::to_lanes(sums[i]) * (V::all(work.query_scale[i]) * sk);
      });
    } else {
      each<W>([&](auto i) QUERN_INLINE_LAMBDA { s[i] = V::all(0.0f); });
      const std::byte* k = keys + Lanes::kBytes * 16 * args.head_dim * g;
      const float* q = work.query;
      for (std::int64_t d = 0; d < args.head_dim; ++d, k += Lanes::kBytes * 16, q += W) {
        const V key = Lanes::load(k);
        each<W>([&](auto i) QUERN_INLINE_LAMBDA { s[i] = fma(V::all(q[i]), key, s[i]); });
      }
    }
    each<W>([&](auto i)
                QUERN_INLINE_LAMBDA { (s[i] * scale).store(work.score + 64 * i + 16 * g); });
  }

  /// Turns the scores of one query into probabilities (0 where invisible); returns m_b, writes l_b.
  static float probabilities(const AttentionArgs& args, std::int64_t query, std::int64_t first,
                             Span visible, float* score, float* l_b) {
    const V lowest = V::all(-std::numeric_limits<float>::infinity()), zero = V::all(0.0f);
    const V from = V::all(static_cast<float>(visible.from));
    const V to = V::all(static_cast<float>(visible.to));
    const auto where_visible = [&](int g, const V& yes, const V& no) QUERN_INLINE_LAMBDA {
      const V j = lane_numbers<V>() + V::all(static_cast<float>(16 * g));
      return select(less(j, from), no, select(less(j, to), yes, no));
    };
    V top = lowest;
    for (int g = 0; g < 4; ++g) {
      V s = V::load(score + 16 * g);
      if (args.softcap > 0.0f) {
        const V cap = V::all(args.softcap);
        s = cap * tanh_of(s / cap);
      }
      if (args.alibi_slope != nullptr) {
        // Whole numbers below 2²⁴: the float32 sum is what the oracle converts.
        float distance[16];
        for (int i = 0; i < 16; ++i) {
          distance[i] = static_cast<float>(first + 16 * g + i - (args.end[query] - 1));
        }
        s = s + V::all(args.alibi_slope[query]) * V::load(distance);
      }
      if (args.bias != nullptr) s = s + V::load(args.bias[query] + first + 16 * g);
      s.store(score + 16 * g);
      top = larger_of(top, where_visible(g, s, lowest));
    }
    const float m_b = top.tree_max();
    const V m = V::all(m_b);
    V sum = zero;
    for (int g = 0; g < 4; ++g) {
      const V p = where_visible(g, exp_of(V::load(score + 16 * g) - m), zero);
      p.store(score + 16 * g);
      sum = sum + p;
    }
    *l_b = sum.tree_sum();
    return m_b;
  }

  /// out[i][d] = fma(weight, value, out) for positions [from, to), C·16 elements d from `at` on.
  template <int W, int C>
  static QUERN_INLINE void weigh(const AttentionArgs& args, const std::byte* values,
                                 std::int64_t at, Span span, const Work& work, int query) {
    const std::int64_t row = value_row_bytes<type>(args.value_dim);
    V acc[W * C];
    float* out = work.out + query * work.vd32 + at;
    const float* weight = work.weight + 64 * query;
    each<W * C>([&](auto i) QUERN_INLINE_LAMBDA {
      acc[i] = V::load(out + i.value / C * work.vd32 + 16 * (i.value % C));
    });
    for (std::int64_t j = span.from; j < span.to; ++j) {
      each<C>([&](auto c) QUERN_INLINE_LAMBDA {
        const V v = Lanes::value(values + j * row, at + 16 * c);
        each<W>([&](auto i) QUERN_INLINE_LAMBDA {
          acc[i * C + c] = fma(V::all(weight[64 * i + j]), v, acc[i * C + c]);
        });
      });
    }
    each<W * C>([&](auto i) QUERN_INLINE_LAMBDA {
      acc[i].store(out + i.value / C * work.vd32 + 16 * (i.value % C));
    });
  }

  template <int W>
  static void weigh_all(const AttentionArgs& args, const std::byte* values, Span span,
                        const Work& work, int query) {
    constexpr int kColumns = Isa::kLanes / W < 1 ? 1 : Isa::kLanes / W > 4 ? 4 : Isa::kLanes / W;
    const std::int64_t dim = round_up(args.value_dim, 16);
    std::int64_t at = 0;
    for (; at + 16 * kColumns <= dim; at += 16 * kColumns) {
      weigh<W, kColumns>(args, values, at, span, work, query);
    }
    for (; at < dim; at += 16) weigh<W, 1>(args, values, at, span, work, query);
  }

  static QUERN_INLINE void merge_lanes(float* m, float* l, float* acc, float m_b, float l_b,
                                       const float* o_b, std::int64_t dim) {
    const float top = *m < m_b ? m_b : *m;
    float pair[16] = {*m - top, m_b - top};
    exp_of(V::load(pair)).store(pair);
    const V f = V::all(pair[0]), g = V::all(pair[1]);
    V l_new = fma(V::all(*l), f, V::all(l_b) * g);
    l_new.store_first(l, 1);
    *m = top;
    map_lanes<V>(dim, acc, [&](auto lanes) QUERN_INLINE_LAMBDA {
      return fma(lanes(acc), f, lanes(o_b) * g);
    });
  }

  /// Visible positions of a query in the block that begins at `first`.
  static QUERN_INLINE Span visible(const AttentionArgs& args, std::int64_t i, std::int64_t first) {
    return {args.begin[i] > first ? args.begin[i] - first : 0,
            args.end[i] < first + kKvBlock ? args.end[i] - first : kKvBlock};
  }

  template <int W>
  static void block(const AttentionArgs& args, std::int64_t first_query, std::int64_t b,
                    Work& work) {
    const std::int64_t first = b * kKvBlock;
    Span span[W], all{kKvBlock, 0}, shared{0, kKvBlock};
    bool joint = true;
    for (int i = 0; i < W; ++i) {
      span[i] = visible(args, first_query + i, first);
      if (span[i].from >= span[i].to) span[i] = {0, 0};
      joint = joint && span[i].from == span[0].from && span[i].to > span[i].from;
      if (span[i].from == span[i].to) continue;
      all.from = all.from < span[i].from ? all.from : span[i].from;
      all.to = all.to > span[i].to ? all.to : span[i].to;
      shared.to = shared.to < span[i].to ? shared.to : span[i].to;
    }
    if (all.from >= all.to) return;
    const std::byte* keys = args.head.k + b * args.head.k_block_bytes;
    const std::byte* values = args.head.v + b * args.head.v_block_bytes;
    for (int g = 0; g < 4; ++g) {
      if (16 * g < all.to && 16 * g + 16 > all.from) scores<W>(args, keys, g, work);
    }
    float m_b[W], l_b[W];
    const V zero = V::all(0.0f);
    for (int i = 0; i < W; ++i) {
      if (span[i].from == span[i].to) continue;
      m_b[i] = probabilities(args, first_query + i, first, span[i], work.score + 64 * i, &l_b[i]);
      for (int g = 0; g < 4; ++g) {
        V p = V::load(work.score + 64 * i + 16 * g);
        if constexpr (kCoded) {
          const std::int64_t row = value_row_bytes<type>(args.value_dim);
          p = p * V::load(reinterpret_cast<const float*>(values + 64 * row) + 16 * g);
        }
        p.store(work.weight + 64 * i + 16 * g);
      }
      for (std::int64_t d = 0; d < work.vd32; d += 16) zero.store(work.out + i * work.vd32 + d);
    }
    // Order of positions per query: first the part that all share, then its own.
    if (joint) weigh_all<W>(args, values, {span[0].from, shared.to}, work, 0);
    for (int i = 0; i < W; ++i) {
      const Span own{joint ? shared.to : span[i].from, span[i].to};
      if (own.from < own.to) weigh_all<1>(args, values, own, work, i);
      if (span[i].from == span[i].to) continue;
      merge_lanes(args.m + first_query + i, args.l + first_query + i,
                  args.acc + (first_query + i) * round_up(args.value_dim, 16), m_b[i], l_b[i],
                  work.out + i * work.vd32, args.value_dim);
    }
  }

  template <int W>
  static void queries(const AttentionArgs& args, std::int64_t first) {
    Work work;
    work.vd32 = round_up(args.value_dim, 32);
    work.score = reinterpret_cast<float*>(args.scratch);
    work.weight = work.score + 64 * W;
    work.out = work.weight + 64 * W;
    work.query = work.out + work.vd32 * W;
    pack_queries<W>(args, first, work);
    for (std::int64_t b = args.block_begin; b < args.block_end; ++b) {
      block<W>(args, first, b, work);
    }
  }

  static void run(const AttentionArgs& args) {
    for (std::int64_t i = 0; i < args.n_queries;) {
      const std::int64_t left = args.n_queries - i;
      if (left >= 4) {
        queries<4>(args, i);
        i += 4;
      } else if (left == 3) {
        queries<3>(args, i);
        i += 3;
      } else if (left == 2) {
        queries<2>(args, i);
        i += 2;
      } else {
        queries<1>(args, i);
        i += 1;
      }
    }
  }

  static void install(KernelTable& table) {
    set_attention(table, type, run);
    set_kv_store(table, type, KvStore<Isa, type>::run);
  }
};

template <class Isa>
struct AttentionState {
  using V = typename Isa::V;

  static void merge(float* m, float* l, float* acc, float m_b, float l_b, const float* o_b,
                    std::int64_t dim) {
    Attention<Isa, KvType::kF32>::merge_lanes(m, l, acc, m_b, l_b, o_b, dim);
  }

  static void finish(float l, const float* acc, std::int64_t dim, float* out) {
    const V r = V::all(1.0f / l), zero = V::all(0.0f);
    const bool empty = l == 0.0f;
    map_lanes<V>(dim, out,
                 [&](auto lanes) QUERN_INLINE_LAMBDA { return empty ? zero : lanes(acc) * r; });
  }
};

template <class Isa>
void install_attention(KernelTable& table) {
  Attention<Isa, KvType::kF32>::install(table);
  Attention<Isa, KvType::kF16>::install(table);
  Attention<Isa, KvType::kBF16>::install(table);
  Attention<Isa, KvType::kQ8>::install(table);
  Attention<Isa, KvType::kQ4>::install(table);
  table.attention_merge = AttentionState<Isa>::merge;
  table.attention_finish = AttentionState<Isa>::finish;
}

}  // namespace
}  // namespace quern::kernels
