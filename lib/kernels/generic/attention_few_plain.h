/// \file
/// A block of float keys and values for W queries.
#pragma once

#include "kernels/generic/attention_few.h"

namespace quern::kernels {
namespace {

/// Turns the products `weight` `[64]` of a query with a block from position `first` on into weights
/// (0 where invisible); returns m_b, writes l_b.
template <class Isa>
float weigh_plain(const AttentionArgs& args, std::int64_t query, std::int64_t first, Span visible,
                  float* weight, float* l_b) {
  using V = typename Isa::V;
  using Few = FewQueries<Isa>;
  const V lowest = V::all(kLowest), zero = V::all(0.0f);
  V x[4], top[1] = {lowest};
  each<4>([&](auto g) QUERN_INLINE_LAMBDA {
    const V s = V::load(weight + 16 * g) * V::all(args.scale);
    const V j = lane_numbers<V>() + V::all(static_cast<float>(16 * g));
    x[g] = Few::shape(args, query, first + 16 * g, s) * V::all(kLog2E);
    x[g] = Few::where_visible(j, visible, x[g], lowest);
    top[0] = larger_of(top[0], x[g]);
  });
  Few::template largest_of_lanes<1>(top);
  const V m_b = reference_of(top[0]);
  V sum[1] = {zero};
  each<4>([&](auto g) QUERN_INLINE_LAMBDA {
    const V j = lane_numbers<V>() + V::all(static_cast<float>(16 * g));
    const V w = Few::where_visible(j, visible, exp2_of(x[g] - m_b), zero);
    w.store(weight + 16 * g);
    sum[0] = sum[0] + w;
  });
  Few::template sum_of_lanes<1>(sum);
  *l_b = Few::first(sum[0]);
  return Few::first(m_b);
}

template <class Isa, KvType type, int W>
class PlainBlockOfFew {
  using V = typename Isa::V;
  using Few = FewQueries<Isa>;
  using Lanes = KvLanes<Isa, type>;
  static constexpr int kColumns = Isa::kLanes / W < 1   ? 1
                                  : Isa::kLanes / W > 4 ? 4
                                                        : Isa::kLanes / W;

 public:
  PlainBlockOfFew(const AttentionArgs& args, std::int64_t first, Carver& memory)
      : args_(args), first_(first), vd16_(round_up(args.value_dim, 16)) {
    query_ = memory.take<float>(args.head_dim * W);
    out_ = memory.take<float>(vd16_ * W);
    for (int i = 0; i < W; ++i) {
      for (std::int64_t d = 0; d < args.head_dim; ++d) query_[d * W + i] = args.q[first + i][d];
    }
  }

  void merge_into(float* span, std::int64_t b) {
    const std::int64_t first = b * kKvBlock;
    Span visible[W], all{kKvBlock, 0}, shared{0, kKvBlock};
    bool joint = true;
    for (int i = 0; i < W; ++i) {
      visible[i] = visible_in(args_, first_ + i, first);
      if (visible[i].from >= visible[i].to) visible[i] = {0, 0};
      joint = joint && visible[i].from == visible[0].from && visible[i].to > 0;
      if (visible[i].to == 0) continue;
      all.from = all.from < visible[i].from ? all.from : visible[i].from;
      all.to = all.to > visible[i].to ? all.to : visible[i].to;
      shared.to = shared.to < visible[i].to ? shared.to : visible[i].to;
    }
    if (all.from >= all.to) return;
    next_ = bytes_to_next(args_.head, b);
    const std::byte* keys = key_block(args_.head, b);
    const std::byte* values = value_block(args_.head, b);
    for (int g = 0; g < 4; ++g) {
      if (16 * g < all.to && 16 * g + 16 > all.from) scores(keys, g);
    }
    for (std::int64_t d = 0; d < vd16_ * W; d += 16) V::all(0.0f).store(out_ + d);
    // Order of positions per query: first the part that all share, then its own.
    float m_b[W] = {}, l_b[W] = {};
    for (int i = 0; i < W; ++i) {
      if (visible[i].to == 0) continue;
      m_b[i] = weigh_plain<Isa>(args_, first_ + i, first, visible[i], weight_[i], &l_b[i]);
    }
    if (joint) add_all_values<W>(values, {visible[0].from, shared.to}, 0);
    for (int i = 0; i < W; ++i) {
      if (visible[i].to == 0) continue;
      const Span own{joint ? shared.to : visible[i].from, visible[i].to};
      if (own.from < own.to) add_all_values<1>(values, own, i);
      const QueryState state = state_of(span, W, args_.value_dim, i);
      Few::add_part(state.acc, out_ + i * vd16_, Few::merge(state, m_b[i], l_b[i]),
                    args_.value_dim);
    }
  }

 private:
  /// q · k of positions 16g … 16g+15.
  QUERN_INLINE void scores(const std::byte* keys, int g) {
    V s[W];
    each<W>([&](auto i) QUERN_INLINE_LAMBDA { s[i] = V::all(0.0f); });
    const std::byte* k = keys + Lanes::kBytes * 16 * args_.head_dim * g;
    const float* q = query_;
    for (std::int64_t d = 0; d < args_.head_dim; ++d, k += Lanes::kBytes * 16, q += W) {
      ask_for_next(k, next_);
      const V key = Lanes::load(k);
      each<W>([&](auto i) QUERN_INLINE_LAMBDA { s[i] = fma(V::all(q[i]), key, s[i]); });
    }
    each<W>([&](auto i) QUERN_INLINE_LAMBDA { s[i].store(weight_[i] + 16 * g); });
  }

  /// out[i][d] = fma(weight, value, out) for positions of `span`, C·16 elements d from `at` on.
  template <int N, int C>
  QUERN_INLINE void add_values(const std::byte* values, std::int64_t at, Span span, int query) {
    const std::int64_t row = value_row_bytes<type>(args_.value_dim);
    V acc[N * C];
    float* out = out_ + query * vd16_ + at;
    each<N * C>([&](auto i) QUERN_INLINE_LAMBDA {
      acc[i] = V::load(out + i.value / C * vd16_ + 16 * (i.value % C));
    });
    for (std::int64_t j = span.from; j < span.to; ++j) {
      each<C>([&](auto c) QUERN_INLINE_LAMBDA {
        const std::byte* from = values + j * row + Lanes::kBytes * (at + 16 * c);
        ask_for_next(from, next_);
        const V v = Lanes::load(from);
        each<N>([&](auto i) QUERN_INLINE_LAMBDA {
          acc[i * C + c] = fma(V::all(weight_[query + i][j]), v, acc[i * C + c]);
        });
      });
    }
    each<N * C>([&](auto i) QUERN_INLINE_LAMBDA {
      acc[i].store(out + i.value / C * vd16_ + 16 * (i.value % C));
    });
  }

  template <int N>
  void add_all_values(const std::byte* values, Span span, int query) {
    std::int64_t at = 0;
    for (; at + 16 * kColumns <= vd16_; at += 16 * kColumns) {
      add_values<N, kColumns>(values, at, span, query);
    }
    for (; at < vd16_; at += 16) add_values<N, 1>(values, at, span, query);
  }

  const AttentionArgs& args_;
  std::int64_t first_, vd16_;
  std::int64_t next_ = 0;  ///< Bytes from a block to the next.
  float* query_;           ///< `[hd][W]`
  float* out_;             ///< o_b: `[W][vd16]`.
  alignas(64) float weight_[W][64];
};

}  // namespace
}  // namespace quern::kernels
