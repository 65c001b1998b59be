/// \file
/// What one block of 32 of k adds to the exact sums of the native encodings of few bits:
/// acc[t] += Σ over both halves of (their sub-scale)·Σ (code − kOffset)·x, for one part of a panel
/// and W rows packed S wide. x is the block's record (packed_rows.h).
#pragma once

#include "kernels/generic/group_dot.h"
#include "kernels/generic/rotated_codes.h"
#include "kernels/packed_rows.h"

namespace quern::kernels {
namespace {

/// For instructions that sum four products into 32 bits.
template <class Isa, class Codes, int W, int S>
QUERN_INLINE void add_block_of_fours(typename Isa::I (&acc)[W], const Codes& part, std::int64_t b,
                                     const std::byte* x) {
  each<2>([&](auto h) QUERN_INLINE_LAMBDA {
    typename Isa::I sum[W];
    Isa::template dot<Codes::kMax, Codes::kOffset, 4 * h.value, 4, 1, W, S>(
        sum, [&](auto, auto kk) QUERN_INLINE_LAMBDA { return part.template code<kk.value>(b); }, x,
        [&](auto t) QUERN_INLINE_LAMBDA {
          return Isa::template minus_offset<Codes::kOffset, h.value>(x + 32 * S + 4 * t);
        });
    const auto s = part.template sub<h.value>(b);
    each<W>([&](auto t) QUERN_INLINE_LAMBDA {
      if constexpr (Codes::kWideSums) {
        acc[t] = Isa::add_scaled_wide(acc[t], sum[t], s);
      } else {
        acc[t] = Isa::add_scaled(acc[t], sum[t], s);
      }
    });
  });
}

/// For instructions that sum two products into 16 bits: sums of pairs stay there as long as they
/// fit, what adds them up scales them as well, and one product takes both halves' offsets away.
template <class Isa, class Codes, int W, int S>
QUERN_INLINE void add_block_of_pairs(typename Isa::I (&acc)[W], const Codes& part, std::int64_t b,
                                     const std::byte* x) {
  constexpr int kFlush = pair_sums_of<Codes::kMax, 127>();
  const auto offsets = part.offset_pairs(b);
  each<W>([&](auto t) QUERN_INLINE_LAMBDA {
    acc[t] = Isa::add_scaled(acc[t], Isa::broadcast_ints(x + 32 * S + 4 * t), offsets);
  });
  each<2>([&](auto h) QUERN_INLINE_LAMBDA {
    const auto scales = part.template sub_pairs<h.value>(b);
    typename Isa::I pairs[W];
    for_products<Isa, 4 * h.value, 4, 1, W, S>(
        [&](auto, auto kk) QUERN_INLINE_LAMBDA { return part.template code<kk.value>(b); }, x,
        [&](auto t, auto i, auto w, auto four) QUERN_INLINE_LAMBDA {
          const auto two = Isa::pair_products(w, four);
          pairs[t] = i.value % kFlush == 0 ? two : Isa::add_pairs(pairs[t], two);
          if constexpr (i.value % kFlush == kFlush - 1 || i.value == 3) {
            acc[t] = Isa::add_scaled(acc[t], pairs[t], scales);
          }
        });
  });
}

}  // namespace
}  // namespace quern::kernels
