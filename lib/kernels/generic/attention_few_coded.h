/// \file
/// A block of coded keys and values for W queries: both products are exact sums of integers.
#pragma once

#include "kernels/generic/attention_few.h"

namespace quern::kernels {
namespace {

/// The weights of W queries, whatever the type of the keys that their sums are of.
template <class Isa, int W>
class CodedWeightsOfFew {
 protected:
  using V = typename Isa::V;
  using Few = FewQueries<Isa>;

  CodedWeightsOfFew(const AttentionArgs& args, std::int64_t first) : args_(args), first_(first) {}

  /// Turns the sums of N queries from `at` on into codes of weights, and merges m and l. They go
  /// side by side: each alone is one long chain of steps that wait for another. `plain`: all see
  /// the whole block, and their scores are products alone.
  template <int N, bool plain>
  void weigh(const CodedBlock& block, int at, std::int64_t first, Span visible,
             const V (&inverse)[4], float* span) {
    const bool shapes = !plain && shaped(args_);
    const V lowest = V::all(kLowest);
    V x[N][4], top[N], sum[N];
    each<N>([&](auto i) QUERN_INLINE_LAMBDA { top[i] = lowest; });
    each<4>([&](auto g) QUERN_INLINE_LAMBDA {
      const V scale = V::load(block.key_scale + 16 * g);
      const V exponent = V::load(block.value_exponent + 16 * g);
      each<N>([&](auto i) QUERN_INLINE_LAMBDA {
        const V t = Isa::to_lanes(sum_[at + i] + 16 * g) * scale;
        V y;
        if (shapes) {
          const V s = Few::shape(args_, first_ + at, first + 16 * g, t * V::all(unit_[at + i]));
          y = fma(s, V::all(kLog2E), exponent);
        } else {
          y = fma(t, V::all(unit_[at + i] * kLog2E), exponent);
        }
        if constexpr (!plain) y = Few::where_visible(positions(g), visible, y, lowest);
        x[i][g] = y;
        top[i] = larger_of(top[i], y);
      });
    });
    Few::template largest_of_lanes<N>(top);
    each<N>([&](auto i) QUERN_INLINE_LAMBDA {
      top[i] = reference_of(top[i]);
      sum[i] = V::all(0.0f);
    });
    each<4>([&](auto g) QUERN_INLINE_LAMBDA {
      each<N>([&](auto i) QUERN_INLINE_LAMBDA {
        V weight = coded_weight(x[i][g] - top[i]);
        const V more = fma(weight, inverse[g], sum[i]);
        if constexpr (plain) {
          sum[i] = more;
        } else {
          sum[i] = Few::where_visible(positions(g), visible, more, sum[i]);
          weight = Few::where_visible(positions(g), visible, weight, V::all(0.0f));
        }
        Isa::store_low8(code_[at + i] + 16 * g, weight_code(weight));
      });
    });
    Few::template sum_of_lanes<N>(sum);
    merge_state<N>(at, top, sum, span);
  }

  /// The lanes' positions of group g of a block.
  static QUERN_INLINE V positions(int g) {
    return lane_numbers<V>() + V::all(static_cast<float>(16 * g));
  }

  /// Merges m_b and l_b of N queries into their m and l.
  template <int N>
  QUERN_INLINE void merge_state(int at, const V (&m_b)[N], const V (&l_b)[N], float* span) {
    if constexpr (N == 1) {
      const auto factors = Few::merge(state_of(span, W, args_.value_dim, at), Few::first(m_b[0]),
                                      Few::first(l_b[0]));
      old_part_[at] = Few::first(factors.old_part);
      new_part_[at] = Few::first(factors.new_part * V::all(kCodeUnit));
    } else {
      static_assert(N == W);
      V block_m = m_b[0], block_l = l_b[0];
      each<N>([&](auto i) QUERN_INLINE_LAMBDA {
        const auto earlier = less(lane_numbers<V>(), V::all(static_cast<float>(i.value)));
        block_m = select(earlier, block_m, m_b[i]);
        block_l = select(earlier, block_l, l_b[i]);
      });
      const auto factors = Few::merge_lanes(W, span, block_m, block_l);
      factors.old_part.store_first(old_part_, W);
      (factors.new_part * V::all(kCodeUnit)).store_first(new_part_, W);
    }
  }

  const AttentionArgs& args_;
  std::int64_t first_;
  float unit_[W];  ///< Scale of the query's codes times the attention's scale.
  float old_part_[W], new_part_[W];
  alignas(64) std::int32_t sum_[W][64];
  alignas(64) std::byte code_[W][64];
};

template <class Isa, KvType type, int W>
class CodedBlockOfFew : CodedWeightsOfFew<Isa, W> {
  using Weights = CodedWeightsOfFew<Isa, W>;
  using typename Weights::V;
  using I = typename Isa::I;
  using F = typename Isa::F;
  using Weights::args_, Weights::first_, Weights::unit_, Weights::old_part_, Weights::new_part_,
      Weights::sum_, Weights::code_;
  /// Registers of values at the same time.
  static constexpr int kColumns = Isa::kParts == 1 ? 4 : W >= 3 ? 2 : 4;
  /// Queries that are weighed side by side: their scores fill W·4·kParts registers.
  static constexpr int kTogether = Isa::kParts == 1 ? W : 1;

 public:
  CodedBlockOfFew(const AttentionArgs& args, std::int64_t first, Carver& memory)
      : Weights(args, first), steps_(key_steps(type, args.head_dim)) {
    query_ = memory.take<std::byte>(round_up(steps_, 4) * 4 * W);
    rotated_ = memory.take<float>(round_up(args.head_dim, 16));
    if constexpr (type == KvType::kQ4) {
      keys_ = memory.take<std::byte>(256 * steps_);
      values_ = memory.take<std::byte>(64 * value_columns(type, args.value_dim));
    }
    for (int i = 0; i < W; ++i) pack_query(i);
  }

  void merge_into(float* span, std::int64_t b) {
    const std::int64_t first = b * kKvBlock;
    Span visible[W], all{kKvBlock, 0};
    bool whole = true;
    for (int i = 0; i < W; ++i) {
      visible[i] = visible_in(args_, first_ + i, first);
      if (visible[i].from >= visible[i].to) visible[i] = {0, 0};
      whole = whole && visible[i].to - visible[i].from == kKvBlock;
      if (visible[i].to == 0) continue;
      all.from = all.from < visible[i].from ? all.from : visible[i].from;
      all.to = all.to > visible[i].to ? all.to : visible[i].to;
    }
    if (all.from >= all.to) return;
    const CodedBlock block = coded_block<Isa, type>(args_, b, keys_, values_);
    next_ = bytes_to_next(args_.head, b);
    dots(block, all);
    V inverse[4];
    each<4>([&](auto g) QUERN_INLINE_LAMBDA { inverse[g] = inverse_scale<V>(block, 16 * g); });
    if (whole && !shaped(args_)) {
      for (int i = 0; i < W; i += kTogether) {
        Weights::template weigh<kTogether, true>(block, i, first, visible[i], inverse, span);
      }
    } else {
      for (int i = 0; i < W; ++i) {
        if (visible[i].to != 0) {
          Weights::template weigh<1, false>(block, i, first, visible[i], inverse, span);
        } else {
          std::memset(code_[i], 0, 64);
          old_part_[i] = 1.0f;
          new_part_[i] = -0.0f;
        }
      }
    }
    const Span fours{all.from / 4, (all.to + 3) / 4};
    float* acc = span + 2 * W;
    const std::int64_t columns = value_columns(type, args_.value_dim);
    const std::int64_t needed = round_up(args_.value_dim, 16);
    std::int64_t at = 0;
    for (; at + kColumns * Isa::kRows <= needed; at += kColumns * Isa::kRows) {
      add_values<kColumns>(block.values + 4 * at, columns, fours, acc + at, needed);
    }
    for (; at < needed; at += Isa::kRows) {
      add_values<1>(block.values + 4 * at, columns, fours, acc + at, needed);
    }
  }

 private:
  void pack_query(int i) {
    Pack<Isa>::rotated_vector(args_.q[first_ + i], args_.head_dim, rotated_);
    const CodeFactor rule = vector_factor<Isa>(rotated_, args_.head_dim, 127.0f);
    std::int32_t sum = 0;
    for (std::int64_t u = 0; u < steps_; u += 4) {
      alignas(16) std::byte codes[16];
      vector_codes<Isa>(rotated_, 4 * u, args_.head_dim, rule.factor, codes);
      for (int k = 0; k < 4; ++k) std::memcpy(query_ + ((u + k) * W + i) * 4, codes + 4 * k, 4);
      for (const std::byte code : codes) sum += static_cast<std::int8_t>(code);
    }
    std::memcpy(query_sum_ + i, &sum, sizeof sum);
    unit_[i] = rule.scale * args_.scale;
  }

  /// Sums of one cell, which is 16 positions or a part of them. Several at a time would read as
  /// many streams of a page, in which the hardware's prefetchers see none: from memory that is half
  /// the speed.
  QUERN_INLINE void dot_cell(const CodedBlock& block, std::int64_t cell) {
    constexpr std::int64_t kCellBytes = 4 * Isa::kRows;
    const std::int64_t group = cell / Isa::kParts, part = cell % Isa::kParts;
    const std::byte* keys = block.keys + 64 * steps_ * group + kCellBytes * part;
    I acc[W];
    each<W>([&](auto i) QUERN_INLINE_LAMBDA {
      acc[i] = Isa::wide_start(reinterpret_cast<const std::byte*>(query_sum_ + i.value));
    });
    const std::byte* query = query_;
    for (std::int64_t u = 0; u < steps_; ++u, keys += 64, query += 4 * W) {
      if constexpr (type == KvType::kQ8) ask_for_next(keys, next_);
      const auto key = Isa::wide(Isa::plus_128(Isa::load_codes(keys)));
      each<W>([&](auto i) QUERN_INLINE_LAMBDA {
        acc[i] = Isa::wide_dot(acc[i], key, Isa::broadcast_codes(query + 4 * i));
        Isa::keep(acc[i]);
      });
    }
    each<W>([&](auto i)
                QUERN_INLINE_LAMBDA { Isa::store_ints(sum_[i] + cell * Isa::kRows, acc[i]); });
  }

  void dots(const CodedBlock& block, Span all) {
    const std::int64_t end = (all.to + 15) / 16 * Isa::kParts;
    for (std::int64_t cell = all.from / 16 * Isa::kParts; cell < end; ++cell) {
      dot_cell(block, cell);
    }
  }

  /// acc = fma(acc, f, float(Σ codes of weights and values)·h) of C registers of elements.
  template <int C>
  QUERN_INLINE void add_values(const std::byte* values, std::int64_t columns, Span fours,
                               float* acc, std::int64_t stride) {
    I sum[W * C];
    each<W * C>([&](auto k) QUERN_INLINE_LAMBDA { sum[k] = Isa::zero_ints(); });
    for (std::int64_t u = fours.from; u < fours.to; ++u) {
      each<C>([&](auto c) QUERN_INLINE_LAMBDA {
        const std::byte* at = values + 4 * (u * columns + c.value * Isa::kRows);
        if constexpr (type == KvType::kQ8) ask_for_next(at, next_);
        const auto value = Isa::load_codes(at);
        each<W>([&](auto i) QUERN_INLINE_LAMBDA {
          sum[i * C + c] =
              Isa::positive_dot(sum[i * C + c], Isa::broadcast_codes(code_[i] + 4 * u), value);
          Isa::keep(sum[i * C + c]);
        });
      });
    }
    each<W>([&](auto i) QUERN_INLINE_LAMBDA {
      const F f = Isa::broadcast(reinterpret_cast<const std::byte*>(old_part_ + i.value));
      const F h = Isa::broadcast(reinterpret_cast<const std::byte*>(new_part_ + i.value));
      each<C>([&](auto c) QUERN_INLINE_LAMBDA {
        float* to = acc + i.value * stride + c.value * Isa::kRows;
        Isa::store(to, Isa::fma(Isa::load(to), f, Isa::mul(Isa::to_float(sum[i * C + c]), h)));
      });
    });
  }

  std::int64_t steps_;
  std::int64_t next_ = 0;  ///< Bytes from a block to the next.
  std::byte* query_;       ///< Codes `[steps][W][4]`.
  float* rotated_;         ///< A query on its way there.
  std::byte* keys_ = nullptr;
  std::byte* values_ = nullptr;
  std::int32_t query_sum_[W];
};

}  // namespace
}  // namespace quern::kernels
