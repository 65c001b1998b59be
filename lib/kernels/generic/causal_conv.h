/// \file
/// Causal convolutions of columns: a body over V = Vec16 of any ISA, in the order of
/// kernel_table.h. Lanes are columns.
#pragma once

#include <algorithm>

#include "kernels/generic/vec16.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {
namespace {

template <class V>
struct CausalConv {
  static constexpr std::int64_t kColumns = 16;
  static constexpr std::int64_t kTaps = 8;  ///< Weights that a pass holds at once.

  /// Up to kColumns columns from number `first`.
  struct Block {
    const ConvArgs& args;
    std::int64_t first, count;
  };

  static QUERN_INLINE V lanes(const float* p, std::int64_t count) {
    return count == kColumns ? V::load(p) : V::load_first(p, count);
  }
  /// Number `i` of every column's `stride` numbers at p.
  static QUERN_INLINE V across(const Block& block, const float* p, std::int64_t stride,
                               std::int64_t i) {
    float numbers[kColumns] = {};
    for (std::int64_t k = 0; k < block.count; ++k) numbers[k] = p[(block.first + k) * stride + i];
    return V::load(numbers);
  }
  /// What row `row` of the step was given; rows before it are the past.
  static QUERN_INLINE V input(const Block& block, std::int64_t row) {
    const ConvArgs& args = block.args;
    if (row >= 0) return lanes(args.x + row * args.cols + block.first, block.count);
    return across(block, args.past, args.kernel - 1, row + args.kernel - 1);
  }

  /// Adds taps [begin, end) of all rows.
  static QUERN_INLINE void add_taps(const Block& block, std::int64_t begin, std::int64_t end) {
    const ConvArgs& args = block.args;
    V weight[kTaps];
    for (std::int64_t k = begin; k < end; ++k)
      weight[k - begin] = across(block, args.weight, args.kernel, k);
    const bool biased = end == args.kernel && args.bias != nullptr;
    const V bias = biased ? lanes(args.bias + block.first, block.count) : V::all(0.0f);
    for (std::int64_t t = 0; t < args.rows; ++t) {
      float* out = args.out + t * args.cols + block.first;
      V sum = begin == 0 ? V::all(0.0f) : lanes(out, block.count);
      for (std::int64_t k = begin; k < end; ++k)
        sum = sum + weight[k - begin] * input(block, t + k + 1 - args.kernel);
      if (biased) sum = sum + bias;
      if (block.count == kColumns) {
        sum.store(out);
      } else {
        sum.store_first(out, block.count);
      }
    }
  }

  static QUERN_INLINE void remember(const Block& block) {
    const ConvArgs& args = block.args;
    const std::int64_t n = args.kernel - 1;
    for (std::int64_t c = block.first; c < block.first + block.count; ++c) {
      float* past = args.past + c * n;
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t row = args.rows - n + i;
        past[i] = row < 0 ? past[i + args.rows] : args.x[row * args.cols + c];
      }
    }
  }

  static void run(const ConvArgs& args) {
    for (std::int64_t first = args.begin; first < args.end; first += kColumns) {
      const Block block{args, first, std::min(kColumns, args.end - first)};
      for (std::int64_t tap = 0; tap < args.kernel; tap += kTaps)
        add_taps(block, tap, std::min(tap + kTaps, args.kernel));
      remember(block);
    }
  }
};

}  // namespace
}  // namespace quern::kernels
