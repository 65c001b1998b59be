/// \file
/// State-space scans: a body over V = Vec16 of any ISA, in the order of kernel_table.h. `Isa` has V
/// and swap<distance>(V). Lanes are numbers of a column's state. Sixteen columns go through all
/// rows together, so that their states stay in the cache and their sums share one tree.
#pragma once

#include <algorithm>

#include "kernels/generic/math.h"
#include "kernels/generic/vec16.h"

namespace quern::kernels {
namespace {

template <class Isa>
struct Scan {
  using V = typename Isa::V;
  static constexpr int kColumns = 16;
  /// Columns whose sums the registers hold at once.
  static constexpr int kTogether = V::kCount == 1 ? 4 : 2;

  /// What a row gives the columns of a block.
  struct Row {
    const float *b, *c;
    float u[kColumns];      ///< step · x
    float power[kColumns];  ///< step · log2 e
    float decay[kColumns];  ///< Where a head has one rate.
  };
  /// Up to kColumns columns from number `first`.
  struct Block {
    const ScanArgs& args;
    std::int64_t first, count;
    std::int64_t head[kColumns];
    V rate, skip;  ///< Per column; `rate` where a head has one.
  };

  template <bool whole>
  static QUERN_INLINE V lanes(const float* p, std::int64_t count) {
    return whole ? V::load(p) : V::load_first(p, count);
  }
  static QUERN_INLINE V first_lanes(const float* p, std::int64_t count) {
    return count == kColumns ? V::load(p) : V::load_first(p, count);
  }

  /// Calls f(head) for the column of each lane; 0 beyond.
  template <class F>
  static QUERN_INLINE V by_head(const Block& block, F f) {
    float values[kColumns] = {};
    for (std::int64_t i = 0; i < block.count; ++i) values[i] = f(block.head[i]);
    return V::load(values);
  }

  static QUERN_INLINE V steps(const Block& block, const float* step) {
    if (block.args.head_dim == 1) return first_lanes(step + block.first, block.count);
    if (block.head[0] == block.head[block.count - 1]) return V::all(step[block.head[0]]);
    return by_head(block, [&](std::int64_t head) { return step[head]; });
  }

  /// Columns whose numbers go through the registers together. Local, so that no store can change
  /// where they lie.
  template <int N>
  struct Group {
    float* state[N];
    const float* rates[N];
    V u[N];
    V factor[N];  ///< The decay where a head has one rate, else what a rate is multiplied by.
    V sum[N];
  };

  /// Numbers [i, i + 16) of the states, `rest` of them: what they add to the sums.
  template <int N, bool one_rate, bool whole>
  static QUERN_INLINE void advance(Group<N>& group, const float* b_row, const float* c_row,
                                   std::int64_t i, std::int64_t rest) {
    const V b = lanes<whole>(b_row + i, rest), c = lanes<whole>(c_row + i, rest);
    each<N>([&](auto k) QUERN_INLINE_LAMBDA {
      V decay = group.factor[k];
      if constexpr (!one_rate) decay = exp2_of(decay * lanes<whole>(group.rates[k] + i, rest));
      float* state = group.state[k] + i;
      const V s = fma(decay, lanes<whole>(state, rest), group.u[k] * b);
      const V more = fma(s, c, group.sum[k]);
      if constexpr (whole) {
        s.store(state);
        group.sum[k] = more;
      } else {  // Lanes beyond may be NaN, as the row's numbers are.
        s.store_first(state, rest);
        const auto inside = less(lane_numbers<V>(), V::all(static_cast<float>(rest)));
        group.sum[k] = select(inside, more, group.sum[k]);
      }
    });
  }

  template <int N, bool one_rate>
  static QUERN_INLINE void columns(const Block& block, const Row& row, std::int64_t column,
                                   V* sums) {
    const ScanArgs& args = block.args;
    const std::int64_t n = args.n;
    const float *b = row.b, *c = row.c;
    Group<N> group;
    each<N>([&](auto k) QUERN_INLINE_LAMBDA {
      const std::int64_t at = column + k;
      group.state[k] = args.state + (block.first + at) * n;
      group.rates[k] = args.a + block.head[at] * args.rates;
      group.u[k] = V::all(row.u[at]);
      group.factor[k] = V::all(one_rate ? row.decay[at] : row.power[at]);
      group.sum[k] = V::all(0.0f);
    });
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) advance<N, one_rate, true>(group, b, c, i, 16);
    if (i < n) advance<N, one_rate, false>(group, b, c, i, n - i);
    each<N>([&](auto k) QUERN_INLINE_LAMBDA { sums[column + k] = group.sum[k]; });
  }

  /// One step of the trees of two vectors: lanes without bit w hold a's, the others b's.
  template <int w>
  static QUERN_INLINE V join(const V& a, const V& b) {
    float number[16];
    for (int i = 0; i < 16; ++i) number[i] = (i & w) == 0 ? 0.0f : 1.0f;
    const auto first = less(V::load(number), V::all(0.5f));
    return select(first, a, b) + Isa::template swap<w>(select(first, b, a));
  }
  template <int w>
  static QUERN_INLINE void join_half(V* v) {
    each<w>([&](auto i) QUERN_INLINE_LAMBDA { v[i] = join<w>(v[i], v[i + w]); });
  }
  /// Lane i: the tree's sum of v[i].
  static QUERN_INLINE V tree_sums(V (&v)[kColumns]) {
    join_half<8>(v);
    join_half<4>(v);
    join_half<2>(v);
    join_half<1>(v);
    return v[0];
  }

  template <bool one_rate>
  static QUERN_INLINE void step(const Block& block, std::int64_t t) {
    const ScanArgs& args = block.args;
    const std::int64_t at = t * args.x_stride + block.first;
    const V d = steps(block, args.step + t * args.step_stride);
    const V x = first_lanes(args.x + at, block.count);
    const V power = d * V::all(1.44269504f);
    Row row;
    row.b = args.b + t * args.b_stride;
    row.c = args.c + t * args.b_stride;
    (d * x).store(row.u);
    power.store(row.power);
    if constexpr (one_rate) exp2_of(power * block.rate).store(row.decay);

    V sums[kColumns];
    std::int64_t column = 0;
    for (; column + kTogether <= block.count; column += kTogether)
      columns<kTogether, one_rate>(block, row, column, sums);
    for (; column < block.count; ++column) columns<1, one_rate>(block, row, column, sums);
    for (; column < kColumns; ++column) sums[column] = V::all(0.0f);
    const V y = fma(block.skip, x, tree_sums(sums));
    if (block.count == kColumns) {
      y.store(args.out + at);
    } else {
      y.store_first(args.out + at, block.count);
    }
  }

  template <bool one_rate>
  static void run_all(const ScanArgs& args) {
    const std::int64_t all = args.heads * args.head_dim;
    for (std::int64_t first = 0; first < all; first += kColumns) {
      Block block{args, first, std::min<std::int64_t>(kColumns, all - first), {}, {}, {}};
      for (std::int64_t i = 0; i < block.count; ++i) block.head[i] = (first + i) / args.head_dim;
      block.rate = by_head(block, [&](std::int64_t head) { return args.a[head * args.rates]; });
      block.skip = by_head(block, [&](std::int64_t head) { return args.skip[head]; });
      for (std::int64_t t = 0; t < args.rows; ++t) step<one_rate>(block, t);
    }
  }

  static void run(const ScanArgs& args) {
    args.rates == 1 ? run_all<true>(args) : run_all<false>(args);
  }
};

}  // namespace
}  // namespace quern::kernels
