/// \file
/// Causal convolutions of columns: a body over V = Vec16 of any ISA, in the order of
/// kernel_table.h. Lanes are columns.
#pragma once

#include <algorithm>

#include "kernels/generic/math.h"
#include "kernels/generic/vec16.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {
namespace {

template <class V, bool silu>
struct CausalConv {
  static constexpr std::int64_t kColumns = 16;
  /// Blocks of columns that go through the rows together: a cache line of each row is a slow read.
  static constexpr int kTogether = V::kCount == 1 ? 4 : 1;

  static QUERN_INLINE V finish(const V& sum) {
    if constexpr (silu) return activate<Activation::kSilu>(sum);
    return sum;
  }

  /// Up to kColumns columns from number `first`.
  struct Block {
    const ConvArgs& args;
    std::int64_t first, count;

    QUERN_INLINE V load(const float* rows, std::int64_t row) const {
      const float* p = rows + row * args.cols + first;
      return count == kColumns ? V::load(p) : V::load_first(p, count);
    }
    QUERN_INLINE void store(const V& v, float* rows, std::int64_t row) const {
      float* p = rows + row * args.cols + first;
      if (count == kColumns) {
        v.store(p);
      } else {
        v.store_first(p, count);
      }
    }
  };

  /// All rows of `blocks` whole blocks, the weights and the last inputs in registers.
  template <int taps, int blocks>
  static QUERN_INLINE void run_blocks(const ConvArgs& args, std::int64_t first) {
    const std::int64_t cols = args.cols;
    V weight[taps * blocks], input[taps * blocks], bias[blocks];
    each<taps * blocks>([&](auto i) QUERN_INLINE_LAMBDA {
      weight[i] = V::load(args.weight + i / blocks * cols + first + i % blocks * kColumns);
    });
    each<(taps - 1) * blocks>([&](auto i) QUERN_INLINE_LAMBDA {
      input[i] = V::load(args.past + i / blocks * cols + first + i % blocks * kColumns);
    });
    each<blocks>([&](auto i) QUERN_INLINE_LAMBDA {
      bias[i] = args.bias == nullptr ? V::all(0.0f) : V::load(args.bias + first + i * kColumns);
    });
    for (std::int64_t t = 0; t < args.rows; ++t) {
      const std::int64_t at = t * cols + first;
      V sum[blocks];
      each<blocks>([&](auto i) QUERN_INLINE_LAMBDA {
        input[(taps - 1) * blocks + i] = V::load(args.x + at + i * kColumns);
        sum[i] = bias[i];
        each<taps>([&](auto k) QUERN_INLINE_LAMBDA {
          sum[i] = fma(weight[k * blocks + i], input[k * blocks + i], sum[i]);
        });
        each<taps - 1>([&](auto k) QUERN_INLINE_LAMBDA {
          input[k * blocks + i] = input[(k + 1) * blocks + i];
        });
      });
      each<blocks>([&](auto i)
                       QUERN_INLINE_LAMBDA { finish(sum[i]).store(args.out + at + i * kColumns); });
    }
    each<(taps - 1) * blocks>([&](auto i) QUERN_INLINE_LAMBDA {
      input[i].store(args.past + i / blocks * cols + first + i % blocks * kColumns);
    });
  }

  /// One block with any number of weights; rows before the first are the past.
  static void run_block(const Block& block) {
    const ConvArgs& args = block.args;
    const std::int64_t n = args.kernel - 1;
    for (std::int64_t t = 0; t < args.rows; ++t) {
      V sum = args.bias == nullptr ? V::all(0.0f) : block.load(args.bias, 0);
      for (std::int64_t k = 0; k <= n; ++k) {
        const std::int64_t row = t + k - n;
        const V input = row < 0 ? block.load(args.past, row + n) : block.load(args.x, row);
        sum = fma(block.load(args.weight, k), input, sum);
      }
      block.store(finish(sum), args.out, t);
    }
    for (std::int64_t k = 0; k < n; ++k) {
      const std::int64_t row = args.rows + k - n;
      block.store(row < 0 ? block.load(args.past, row + n) : block.load(args.x, row), args.past, k);
    }
  }

  template <int taps>
  static void run_whole(const ConvArgs& args) {
    constexpr std::int64_t kWide = kTogether * kColumns;
    std::int64_t first = args.begin;
    for (; first + kWide <= args.end; first += kWide) run_blocks<taps, kTogether>(args, first);
    for (; first + kColumns <= args.end; first += kColumns) run_blocks<taps, 1>(args, first);
    if (first < args.end) run_block({args, first, args.end - first});
  }

  static void run(const ConvArgs& args) {
    if (args.kernel == 3) return run_whole<3>(args);
    if (args.kernel == 4) return run_whole<4>(args);
    for (std::int64_t first = args.begin; first < args.end; first += kColumns)
      run_block({args, first, std::min(kColumns, args.end - first)});
  }
};

}  // namespace
}  // namespace quern::kernels
