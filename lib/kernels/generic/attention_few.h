/// \file
/// Attention of few queries: up to four at a time share the loads of keys and values. Lanes of
/// Q·K are positions, lanes of P·V are elements.
///
/// State: m `[queries]`, l `[queries]`, acc `[queries][vd16]`.
#pragma once

#include "kernels/generic/attention_rule.h"

namespace quern::kernels {
namespace {

/// State of one query; T is float or const float.
template <class T>
struct StateOf {
  T* m;
  T* l;
  T* acc;
};
using QueryState = StateOf<float>;

template <class T>
QUERN_INLINE StateOf<T> state_of(T* state, std::int64_t queries, std::int64_t vd, std::int64_t i) {
  return {state + i, state + queries + i, state + 2 * queries + i * round_up(vd, 16)};
}

QUERN_INLINE void start_state(const QueryState& state, std::int64_t vd, float m, float l) {
  *state.m = m;
  *state.l = l;
  for (std::int64_t d = 0; d < round_up(vd, 16); ++d) state.acc[d] = 0.0f;
}

/// The states of W queries from `first` on before anything is seen. \param sink theirs, or nullptr.
template <int W>
void start_states(const AttentionArgs& args, std::int64_t first, float* state, const float* sink) {
  for (int i = 0; i < W; ++i) {
    start_state(state_of(state, args.n_queries, args.value_dim, first + i), args.value_dim,
                sink == nullptr ? kLowest : sink[i] * kLog2E, sink == nullptr ? 0.0f : 1.0f);
  }
}

/// Asks memory for the next block's bytes of the place that is being read. A block is one page or a
/// few, at whose ends the hardware's prefetchers stop. Behind the last block nothing is read, only
/// asked for.
QUERN_INLINE void ask_for_next(const std::byte* at, std::int64_t next) {
  __builtin_prefetch(at + next, 0, 2);
}
/// Bytes from block b of a head to the next.
QUERN_INLINE std::int64_t bytes_to_next(const KvHead& head, std::int64_t b) {
  return bytes_before_block(head, b + 1) - bytes_before_block(head, b);
}

template <class Isa>
struct FewQueries {
  using V = typename Isa::V;

  /// Reductions over the lanes of N registers, for sums by the fixed tree. All lanes get them.
  template <int N>
  static QUERN_INLINE void sum_of_lanes(V (&x)[N]) {
    each<N>([&](auto i) QUERN_INLINE_LAMBDA { x[i] = x[i] + Isa::template swap<8>(x[i]); });
    each<N>([&](auto i) QUERN_INLINE_LAMBDA { x[i] = x[i] + Isa::template swap<4>(x[i]); });
    each<N>([&](auto i) QUERN_INLINE_LAMBDA { x[i] = x[i] + Isa::template swap<2>(x[i]); });
    each<N>([&](auto i) QUERN_INLINE_LAMBDA { x[i] = x[i] + Isa::template swap<1>(x[i]); });
  }
  template <int N>
  static QUERN_INLINE void largest_of_lanes(V (&x)[N]) {
    each<N>([&](auto i)
                QUERN_INLINE_LAMBDA { x[i] = larger_of(x[i], Isa::template swap<8>(x[i])); });
    each<N>([&](auto i)
                QUERN_INLINE_LAMBDA { x[i] = larger_of(x[i], Isa::template swap<4>(x[i])); });
    each<N>([&](auto i)
                QUERN_INLINE_LAMBDA { x[i] = larger_of(x[i], Isa::template swap<2>(x[i])); });
    each<N>([&](auto i)
                QUERN_INLINE_LAMBDA { x[i] = larger_of(x[i], Isa::template swap<1>(x[i])); });
  }
  static QUERN_INLINE float first(const V& x) {
    float lanes[16];
    x.store(lanes);
    return lanes[0];
  }

  /// Factors of a merge of (m_b, l_b) into m and l, which are updated.
  struct Factors {
    V old_part, new_part;
  };
  static QUERN_INLINE Factors merge(const QueryState& state, float m_b, float l_b) {
    const float top = *state.m < m_b ? m_b : *state.m;
    const V f = exp2_of(V::all(*state.m - top)), g = exp2_of(V::all(m_b - top));
    *state.m = top;
    *state.l = first(fma(V::all(*state.l), f, V::all(l_b) * g));
    return {f, g};
  }

  /// The same of up to 8 queries at once, a lane each; m begins at `state`, l behind it. Lanes that
  /// no query has are read, for acc lies behind, and not written.
  static QUERN_INLINE Factors merge_lanes(std::int64_t queries, float* state, const V& m_b,
                                          const V& l_b) {
    float* l = state + queries;
    const V old_m = V::load(state);
    const V top = select(less(old_m, m_b), m_b, old_m);
    const V f = exp2_of(old_m - top), g = exp2_of(m_b - top);
    const V merged = fma(V::load(l), f, l_b * g);
    top.store_first(state, queries);
    merged.store_first(l, queries);
    return {f, g};
  }

  /// Where positions from `from` to `to` are visible: `yes`, else `no`; j the lanes' positions.
  static QUERN_INLINE V where_visible(const V& j, Span visible, const V& yes, const V& no) {
    return select(less(j, V::all(static_cast<float>(visible.from))), no,
                  select(less(j, V::all(static_cast<float>(visible.to))), yes, no));
  }

  /// Cap, slope and bias for 16 positions from `position` on of query i.
  static QUERN_INLINE V shape(const AttentionArgs& args, std::int64_t i, std::int64_t position,
                              V s) {
    s = capped(args, s);
    if (args.alibi_slope != nullptr) {
      // Whole numbers below 2²⁴: the float32 difference is what the oracle converts.
      const V distance =
          lane_numbers<V>() + V::all(static_cast<float>(position - (args.end[i] - 1)));
      s = s + V::all(args.alibi_slope[i]) * distance;
    }
    return args.bias == nullptr ? s : s + V::load(args.bias[i] + position);
  }

  /// acc = fma(acc, f, o·g).
  static QUERN_INLINE void add_part(float* acc, const float* o, const Factors& factors,
                                    std::int64_t vd) {
    for (std::int64_t d = 0; d < round_up(vd, 16); d += 16) {
      fma(V::load(acc + d), factors.old_part, V::load(o + d) * factors.new_part).store(acc + d);
    }
  }

  static QUERN_INLINE void merge_span(const QueryState& total, const StateOf<const float>& span,
                                      std::int64_t vd) {
    if (*span.l == 0.0f) return;
    add_part(total.acc, span.acc, merge(total, *span.m, *span.l), vd);
  }
  static void merge_spans(std::int64_t queries, std::int64_t vd, float* total, const float* span) {
    bool all = true;
    for (std::int64_t i = 0; i < queries; ++i) all = all && span[queries + i] != 0.0f;
    if (!all) {
      for (std::int64_t i = 0; i < queries; ++i)
        merge_span(state_of(total, queries, vd, i), state_of(span, queries, vd, i), vd);
      return;
    }
    const Factors factors = merge_lanes(queries, total, V::load(span), V::load(span + queries));
    float f[16], g[16];
    factors.old_part.store(f);
    factors.new_part.store(g);
    for (std::int64_t i = 0; i < queries; ++i) {
      add_part(state_of(total, queries, vd, i).acc, state_of(span, queries, vd, i).acc,
               {V::all(f[i]), V::all(g[i])}, vd);
    }
  }

  static void finish(std::int64_t queries, std::int64_t vd, const float* state, float* const* out) {
    for (std::int64_t i = 0; i < queries; ++i) {
      const auto one = state_of(state, queries, vd, i);
      const V r = V::all(1.0f / *one.l), zero = V::all(0.0f);
      const bool empty = *one.l == 0.0f;
      for (std::int64_t d = 0; d < vd; d += 16) {
        const V y = empty ? zero : fma(V::load(one.acc + d), r, zero);
        if (d + 16 <= vd) {
          y.store(out[i] + d);
        } else {
          y.store_first(out[i] + d, vd - d);
        }
      }
    }
  }
};

/// The blocks of W queries from `first` on. Block(args, first, memory) packs the queries; its
/// merge_into(span, b) adds block b to their state.
template <class Isa, template <class, KvType, int> class Block, KvType type, int W>
void attend_few(const AttentionArgs& args, std::int64_t first) {
  const std::int64_t vd = args.value_dim, n = args.n_queries;
  Carver memory{args.scratch};
  auto* buffer = memory.take<float>(W * (2 + round_up(vd, 16)));
  Block<Isa, type, W> block(args, first, memory);
  float* total = args.state;
  const float* sink = args.sink == nullptr ? nullptr : args.sink + first;
  start_states<W>(args, first, total, sink);
  for (std::int64_t b = args.block_begin; b < args.block_end;) {
    // Alone in its place, a span needs no merge into an empty state.
    float* span = args.spans_apart && n == W && sink == nullptr ? total : buffer;
    for (int i = 0; i < W && span != total; ++i) {
      start_state(state_of(span, W, vd, i), vd, kLowest, 0.0f);
    }
    const std::int64_t span_end = (b / kSpanBlocks + 1) * kSpanBlocks;
    const std::int64_t end = span_end < args.block_end ? span_end : args.block_end;
    for (; b < end; ++b) block.merge_into(span, b);
    if (span != total) {
      for (int i = 0; i < W; ++i) {
        FewQueries<Isa>::merge_span(state_of(total, n, vd, first + i),
                                    state_of<const float>(span, W, vd, i), vd);
      }
    }
    if (!args.spans_apart || b == args.block_end) continue;
    total += attention_state_floats(n, vd);
    sink = nullptr;
    start_states<W>(args, first, total, sink);
  }
}

template <class Isa, template <class, KvType, int> class Block, KvType type>
void attend_few_all(const AttentionArgs& args) {
  for (std::int64_t i = 0; i < args.n_queries;) {
    const std::int64_t left = args.n_queries - i;
    if (left >= 4) {
      attend_few<Isa, Block, type, 4>(args, i);
      i += 4;
    } else if (left == 3) {
      attend_few<Isa, Block, type, 3>(args, i);
      i += 3;
    } else if (left == 2) {
      attend_few<Isa, Block, type, 2>(args, i);
      i += 2;
    } else {
      attend_few<Isa, Block, type, 1>(args, i);
      i += 1;
    }
  }
}

}  // namespace
}  // namespace quern::kernels
