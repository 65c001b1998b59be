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

/// Asks memory for the next block's bytes of the place that is being read. A block is one page or a
/// few, at whose ends the hardware's prefetchers stop. Behind the last block nothing is read, only
/// asked for.
QUERN_INLINE void ask_for_next(const std::byte* at, std::int64_t block_bytes) {
  __builtin_prefetch(at + block_bytes, 0, 2);
}

template <class Isa>
struct FewQueries {
  using V = typename Isa::V;

  /// Lane 0 of a reduction over the lanes; for sums the fixed tree. All lanes get it.
  static QUERN_INLINE V sum_of_lanes(V x) {
    x = x + Isa::template swap<8>(x);
    x = x + Isa::template swap<4>(x);
    x = x + Isa::template swap<2>(x);
    return x + Isa::template swap<1>(x);
  }
  static QUERN_INLINE V largest_of_lanes(V x) {
    x = larger_of(x, Isa::template swap<8>(x));
    x = larger_of(x, Isa::template swap<4>(x));
    x = larger_of(x, Isa::template swap<2>(x));
    return larger_of(x, Isa::template swap<1>(x));
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
    for (std::int64_t i = 0; i < queries; ++i) {
      merge_span(state_of(total, queries, vd, i), state_of(span, queries, vd, i), vd);
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
  auto* span = memory.take<float>(W * (2 + round_up(vd, 16)));
  Block<Isa, type, W> block(args, first, memory);
  for (int i = 0; i < W; ++i) {
    const float* sink = args.sink == nullptr ? nullptr : args.sink + first + i;
    start_state(state_of(args.state, n, vd, first + i), vd,
                sink == nullptr ? kLowest : *sink * kLog2E, sink == nullptr ? 0.0f : 1.0f);
  }
  for (std::int64_t b = args.block_begin; b < args.block_end;) {
    for (int i = 0; i < W; ++i) start_state(state_of(span, W, vd, i), vd, kLowest, 0.0f);
    const std::int64_t span_end = (b / kSpanBlocks + 1) * kSpanBlocks;
    const std::int64_t end = span_end < args.block_end ? span_end : args.block_end;
    for (; b < end; ++b) block.merge_into(span, b);
    for (int i = 0; i < W; ++i) {
      FewQueries<Isa>::merge_span(state_of(args.state, n, vd, first + i),
                                  state_of<const float>(span, W, vd, i), vd);
    }
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
