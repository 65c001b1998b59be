/// \file
/// State-space scans of one rate a head: a body over V = Vec16 of any ISA, in the order of
/// kernel_table.h. Lanes are columns, so that sums need no tree; the states of a few numbers stay
/// in registers while all rows go by. Those of own rates: scan_own_rates.h.
#pragma once

#include <algorithm>

#include "kernels/generic/math.h"
#include "kernels/generic/scan_own_rates.h"
#include "kernels/generic/vec16.h"

namespace quern::kernels {
namespace {

template <class V>
struct Scan {
  static constexpr int kColumns = static_cast<int>(kScanColumns);
  static constexpr int kRows = static_cast<int>(kScanRows);
  /// Numbers whose states the registers hold.
  static constexpr int kNumbers = V::kCount == 1 ? 8 : 4;
  /// Blocks whose rows are read and written together: a cache line of each row is a slow read.
  static constexpr int kTogether = 4;
  static_assert(kScanSum % kNumbers == 0);

  /// What the rows give heads of one rate.
  struct Heads {
    float weight[kRows][kScanHeads];  ///< What x is multiplied by.
    float shrink[kRows][kScanHeads];  ///< What a state is multiplied by before.
    float scale[kRows][kScanHeads];   ///< What a state stands for is this times the state.
    bool shrinks[kRows];              ///< Whether any head's state is multiplied.
  };

  /// Sixteen columns from number `first`, `count` of them real, and what the rows give them.
  struct Block {
    std::int64_t first, count;
    float* state;         ///< Of number 0.
    const float* next_x;  ///< Where what follows lies, in row 0.
    float* next_out;
    std::int64_t head[kColumns];
    V skip;
    V u[kRows];     ///< What b is multiplied by.
    V part[kRows];  ///< The sum of the numbers that are being added.
    V sum[kRows];   ///< Of those before.
    bool shrinks[kRows];

    bool one_head() const { return head[0] == head[count - 1]; }
  };

  static QUERN_INLINE V lanes(const float* p, std::int64_t count) {
    return count == kColumns ? V::load(p) : V::load_first(p, count);
  }
  /// by_head[head] for the column of each lane; 0 beyond.
  static QUERN_INLINE V spread(const Block& block, const float* by_head) {
    if (block.one_head()) return V::all(by_head[block.head[0]]);
    float values[kColumns] = {};
    for (std::int64_t i = 0; i < block.count; ++i) values[i] = by_head[block.head[i]];
    return V::load(values);
  }

  /// The rows' decays of heads [first, first + count) of one rate, gathered in a scale that the
  /// states share.
  static void gather_decays(const ScanArgs& args, std::int64_t first, std::int64_t count,
                            Heads& heads) {
    float numbers[kColumns] = {};
    for (std::int64_t h = 0; h < count; ++h) {
      const std::int64_t column =
          std::max<std::int64_t>((first + h) * args.head_dim - args.offset, 0);
      numbers[h] = args.state[column / kColumns * kColumns * (args.n + 1) + column % kColumns];
    }
    V scale = V::load(numbers);
    const V rate = lanes(args.a + first, count), one = V::all(1.0f);
    for (std::int64_t t = 0; t < args.rows; ++t) {
      const V d = lanes(args.step + t * args.step_stride + first, count);
      const V next = scale * exp2_decay((d * V::all(1.44269504f)) * rate);
      const auto low = less(next, V::all(kScanLeastScale));
      const V shrink = select(low, next, one);
      scale = select(low, one, next);
      shrink.store(heads.shrink[t] + first);
      scale.store(heads.scale[t] + first);
      (d / scale).store(heads.weight[t] + first);
      for (std::int64_t h = 0; h < count; ++h)
        heads.shrinks[t] |= heads.shrink[t][first + h] != 1.0f;
    }
  }
  static void gather_decays(const ScanArgs& args, Heads& heads) {
    const std::int64_t count = (args.offset + args.columns - 1) / args.head_dim + 1;
    for (std::int64_t t = 0; t < args.rows; ++t) heads.shrinks[t] = false;
    for (std::int64_t first = 0; first < count; first += kColumns)
      gather_decays(args, first, std::min<std::int64_t>(count - first, kColumns), heads);
  }

  static QUERN_INLINE void place(const ScanArgs& args, std::int64_t first, Block& block) {
    block.first = first;
    block.count = std::min<std::int64_t>(kColumns, args.columns - first);
    block.state = args.state + first * (args.n + 1) + kColumns;
    constexpr std::int64_t kStrip = kTogether * kColumns;
    const bool last = first / kStrip == (args.columns - 1) / kStrip;
    const std::int64_t next =
        first + (last ? args.rows * args.x_stride - first / kStrip * kStrip : kStrip);
    block.next_x = args.x + next;
    block.next_out = args.out + next;
    std::int64_t head = (args.offset + first) / args.head_dim;
    std::int64_t rest = (head + 1) * args.head_dim - args.offset - first;
    for (std::int64_t i = 0; i < block.count; ++i, --rest) {
      if (rest == 0) ++head, rest = args.head_dim;
      block.head[i] = head;
    }
    block.skip = spread(block, args.skip);
  }

  /// What row `t` gives a block.
  static QUERN_INLINE void read(const ScanArgs& args, const Heads& heads, std::int64_t t,
                                Block& block) {
    const V x = lanes(args.x + t * args.x_stride + block.first, block.count);
    block.u[t] = spread(block, heads.weight[t]) * x;
    block.shrinks[t] = block.one_head() ? heads.shrink[t][block.head[0]] != 1.0f : heads.shrinks[t];
  }

  /// Brings states into the first cache while a pass goes through many rows: those of the next. One
  /// row is over too soon for that, and for the hardware's prefetchers, which see short streams:
  /// brings what a pass some blocks later reads into the second-level cache.
  template <int N>
  static QUERN_INLINE void fetch_ahead(const ScanArgs& args, std::int64_t j, const Block& block) {
    const float* state = block.state + j * kColumns;
    const std::int64_t distance = 2 * kColumns * (args.n + 1);
    each<N>([&](auto k) QUERN_INLINE_LAMBDA {
      if (args.rows == 1) {
        __builtin_prefetch(state + k * kColumns + distance, 0, 1);
      } else {
        __builtin_prefetch(state + (N + k) * kColumns, 1, 3);
      }
    });
  }

  /// Takes numbers [j, j + N) of the states of a block through all rows.
  template <int N>
  static QUERN_INLINE void pass(const ScanArgs& args, const Heads& heads, std::int64_t j,
                                Block& block) {
    const bool starts = j % kScanSum == 0, is_first = j < kScanSum;
    const bool ends = (j + N) % kScanSum == 0 || j + N == args.n;
    V state[N];
    each<N>([&](auto k)
                QUERN_INLINE_LAMBDA { state[k] = V::load(block.state + (j + k) * kColumns); });
    fetch_ahead<N>(args, j, block);
    // All that the rows need in variables: what is stored could be theirs for all the compiler
    // knows.
    const std::int64_t rows = args.rows, b_stride = args.b_stride, x_stride = args.x_stride;
    const float* b = args.b + j;
    const float* c = args.c + j;
    const float* next = j == 0 ? block.next_x : block.next_out;
    for (std::int64_t t = 0; t < rows; ++t, b += b_stride, c += b_stride, next += x_stride) {
      __builtin_prefetch(next, 0, 2);
      const V u = block.u[t];
      V sum = starts ? V::all(0.0f) : block.part[t];
      if (block.shrinks[t]) {
        const V shrink = spread(block, heads.shrink[t]);
        each<N>([&](auto k) QUERN_INLINE_LAMBDA { state[k] = state[k] * shrink; });
      }
      each<N>([&](auto k) QUERN_INLINE_LAMBDA {
        state[k] = fma(u, V::all(b[k]), state[k]);
        sum = fma(state[k], V::all(c[k]), sum);
      });
      if (ends) {
        block.sum[t] = (is_first ? V::all(0.0f) : block.sum[t]) + sum;
      } else {
        block.part[t] = sum;
      }
    }
    each<N>([&](auto k) QUERN_INLINE_LAMBDA { state[k].store(block.state + (j + k) * kColumns); });
  }

  /// out = fma(skip, x, scale·sum) of row `t`.
  static QUERN_INLINE void write(const ScanArgs& args, const Heads& heads, std::int64_t t,
                                 const Block& block) {
    const std::int64_t at = t * args.x_stride + block.first;
    const V sum = spread(block, heads.scale[t]) * block.sum[t];
    const V y = fma(block.skip, lanes(args.x + at, block.count), sum);
    if (block.count == kColumns) {
      y.store(args.out + at);
    } else {
      y.store_first(args.out + at, block.count);
    }
  }

  static void run_block(const ScanArgs& args, const Heads& heads, Block& block) {
    std::int64_t j = 0;
    for (; j + kNumbers <= args.n; j += kNumbers) pass<kNumbers>(args, heads, j, block);
    for (; j < args.n; ++j) pass<1>(args, heads, j, block);
    spread(block, heads.scale[args.rows - 1]).store(block.state - kColumns);
  }

  static void run_one_rate(const ScanArgs& args) {
    Heads heads;
    Block blocks[kTogether];
    gather_decays(args, heads);
    for (std::int64_t first = 0; first < args.columns; first += kTogether * kColumns) {
      const std::int64_t rest = (args.columns - first + kColumns - 1) / kColumns;
      const int count = static_cast<int>(std::min<std::int64_t>(rest, kTogether));
      for (int i = 0; i < count; ++i) place(args, first + i * kColumns, blocks[i]);
      for (std::int64_t t = 0; t < args.rows; ++t) {
        for (int i = 0; i < count; ++i) read(args, heads, t, blocks[i]);
      }
      for (int i = 0; i < count; ++i) run_block(args, heads, blocks[i]);
      for (std::int64_t t = 0; t < args.rows; ++t) {
        for (int k = 0; k < count; ++k) write(args, heads, t, blocks[k]);
      }
    }
  }

  static void run(const ScanArgs& args) {
    if (args.rows == 0) return;
    args.rates == 1 ? run_one_rate(args) : ScanOwnRates<V>::run(args);
  }
};

}  // namespace
}  // namespace quern::kernels
