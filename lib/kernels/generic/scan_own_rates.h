/// \file
/// State-space scans whose columns have a rate for every number: a body over V = Vec16 of any ISA,
/// in the order of kernel_table.h. Lanes are columns. What bounds it are the decays, eight products
/// and three sums each, so that all else is done once for the numbers of a sum, and the columns of
/// one register go by at a time: more would have their sums on the stack.
#pragma once

#include <algorithm>

#include "kernels/generic/math.h"
#include "kernels/generic/vec16.h"

namespace quern::kernels {
namespace {

template <class V>
class ScanOwnRates {
 public:
  static void run(const ScanArgs& args) {
    for (std::int64_t first = 0; first < args.columns; first += kColumns) {
      const std::int64_t count = std::min<std::int64_t>(kColumns, args.columns - first);
      if (count == kColumns && args.head_dim == 1) {
        run_block(args, first, rows_of(args, first));
      } else {
        run_copy(args, first, count);
      }
    }
  }

 private:
  static constexpr int kColumns = static_cast<int>(kScanColumns);
  static constexpr int kRows = static_cast<int>(kScanRows);
  using R = typename V::Register;
  static constexpr int kLanes = R::kLanes;
  /// Numbers that go through the rows together.
  static constexpr int kNumbers = static_cast<int>(kScanSum);
  static constexpr float kLog2E = 1.44269504f;
  static constexpr float kMostDecay = 126.0f;  ///< Where exp2_decay begins to clamp.

  /// The rows of sixteen columns.
  struct Rows {
    const float* x;
    const float* step;
    float* out;
    std::int64_t x_stride, step_stride;  ///< Of out as of x.
    float skip[kColumns];
  };

  static Rows rows_of(const ScanArgs& args, std::int64_t first) {
    Rows rows{args.x + first,   args.step + args.offset + first,
              args.out + first, args.x_stride,
              args.step_stride, {}};
    std::copy_n(args.skip + args.offset + first, kColumns, rows.skip);
    return rows;
  }

  /// Columns that are fewer than sixteen, or some of which are one head's.
  static void run_copy(const ScanArgs& args, std::int64_t first, std::int64_t count) {
    float x[kRows * kColumns], step[kRows * kColumns], out[kRows * kColumns];
    Rows rows{x, step, out, kColumns, kColumns, {}};
    for (std::int64_t i = 0; i < kColumns; ++i) {
      const std::int64_t head = (args.offset + first + i) / args.head_dim;
      const bool real = i < count;
      rows.skip[i] = real ? args.skip[head] : 0.0f;
      for (std::int64_t t = 0; t < args.rows; ++t) {
        x[t * kColumns + i] = real ? args.x[t * args.x_stride + first + i] : 0.0f;
        step[t * kColumns + i] = real ? args.step[t * args.step_stride + head] : 0.0f;
      }
    }
    run_block(args, first, rows);
    for (std::int64_t t = 0; t < args.rows; ++t)
      std::copy_n(out + t * kColumns, count, args.out + t * args.x_stride + first);
  }

  /// Whether no decay of a block is so strong that exp2_decay would clamp it. A product with log2e
  /// keeps the order, so that the largest of all is made from the largest step.
  static bool is_in_range(const ScanArgs& args, const float* rates, const Rows& rows) {
    V most_rate = V::all(0.0f), most_step = most_rate;
    for (std::int64_t j = 0; j < args.n; ++j)
      most_rate = larger_of(abs_of(V::load(rates + j * kColumns)), most_rate);
    for (std::int64_t t = 0; t < args.rows; ++t)
      most_step = larger_of(abs_of(V::load(rows.step + t * rows.step_stride)), most_step);
    return all_less(most_step * V::all(kLog2E) * most_rate, V::all(kMostDecay));
  }

  static void run_block(const ScanArgs& args, std::int64_t first, const Rows& rows) {
    const float* rates = args.a + first * args.n;
    float* state = args.state + first * args.n;
    const bool clamps = !is_in_range(args, rates, rows);
    for (int lane = 0; lane < kColumns; lane += kLanes) {
      clamps ? run_numbers<true>(args, rows, lane, rates + lane, state + lane)
             : run_numbers<false>(args, rows, lane, rates + lane, state + lane);
    }
  }

  /// All numbers of the columns of a register, from `lane` on.
  template <bool clamps>
  static void run_numbers(const ScanArgs& args, const Rows& rows, int lane, const float* rates,
                          float* state) {
    Sum sums[kRows];
    std::int64_t j = 0;
    for (; j + kNumbers <= args.n; j += kNumbers)
      pass<kNumbers, clamps>(args, rows, lane, j, rates + j * kColumns, state + j * kColumns, sums);
    for (; j < args.n; ++j)
      pass<1, clamps>(args, rows, lane, j, rates + j * kColumns, state + j * kColumns, sums);
  }

  /// Where sums stand between two passes.
  struct Sum {
    R part;    ///< Of the numbers that are being added.
    R before;  ///< Of those before.
  };

  /// Takes numbers [j, j + N) of the states through all rows, and fetches what follows them.
  template <int N, bool clamps>
  static QUERN_INLINE void pass(const ScanArgs& args, const Rows& rows, int lane, std::int64_t j,
                                const float* rates, float* states, Sum* sums) {
    const bool starts = j % kScanSum == 0, is_first = j < kScanSum, is_last = j + N == args.n;
    const bool ends = (j + N) % kScanSum == 0 || is_last;
    R state[N], rate[N];
    each<N>([&](auto k) QUERN_INLINE_LAMBDA {
      state[k] = R::load(states + k * kColumns);
      rate[k] = R::load(rates + k * kColumns);
    });
    // All that the rows need in variables: what is stored could be theirs for all the compiler
    // knows.
    const std::int64_t count = args.rows, b_stride = args.b_stride;
    const std::int64_t x_stride = rows.x_stride, step_stride = rows.step_stride;
    const R skip = R::load(rows.skip + lane);
    const float* b = args.b + j;
    const float* c = args.c + j;
    const float* x_row = rows.x + lane;
    const float* step_row = rows.step + lane;
    float* out = rows.out + lane;
    const float* ahead = (j == 0 ? x_row : out) + kColumns;
    for (std::int64_t t = 0; t < count; ++t) {
      __builtin_prefetch(ahead);
      const R x = R::load(x_row), step = R::load(step_row);
      const R factor = step * R::all(kLog2E), u = step * x;
      R part = starts ? R::all(0.0f) : sums[t].part;
      const auto decay_of = [&](auto k) QUERN_INLINE_LAMBDA {
        const R power = factor * rate[k];
        return clamps ? exp2_decay(power) : exp2_in_range(power);
      };
      // A decay is a longer chain than a processor has in view, so that the next one begins before
      // this one is used.
      R next_decay = decay_of(Index<0>{});
      each<N>([&](auto k) QUERN_INLINE_LAMBDA {
        constexpr int next = decltype(k)::value + 1;
        const R decay = next_decay;
        if constexpr (next < N) next_decay = decay_of(Index<next>{});
        state[k] = fma(decay, state[k], u * R::all(b[k]));
        part = fma(state[k], R::all(c[k]), part);
      });
      if (!ends) {
        sums[t].part = part;
      } else {
        const R sum = (is_first ? R::all(0.0f) : sums[t].before) + part;
        if (is_last) {
          fma(skip, x, sum).store(out);
        } else {
          sums[t].before = sum;
        }
      }
      b += b_stride, c += b_stride, x_row += x_stride, step_row += step_stride;
      out += x_stride, ahead += x_stride;
    }
    each<N>([&](auto k) QUERN_INLINE_LAMBDA { state[k].store(states + k * kColumns); });
  }
};

}  // namespace
}  // namespace quern::kernels
