/// \file
/// Exact sums of products of one group, the loop body that all tables share; `Isa::dot` names the
/// one it uses.
///
/// sum[p·W + t] = Σ (code − kOffset)·x over steps kFirst … kFirst + kCount − 1 of a block of 32,
/// for P parts of a panel and W rows packed S wide. code(p, kk) is the vector of step kk, 0 … kMax;
/// start(t) is −kOffset·Σ of row t's codes of x in the group.
#pragma once

#include <bit>
#include <cstddef>

#include "kernels/generic/unroll.h"

namespace quern::kernels {
namespace {

constexpr int log2_of(int power_of_two) {
  return std::countr_zero(static_cast<unsigned>(power_of_two));
}

/// Calls product(p·W + t, step of the group, code vector, four codes of x) step by step.
template <class Isa, int kFirst, int kCount, int P, int W, int S, class Load, class Product>
QUERN_INLINE void for_products(Load load, const std::byte* x, Product product) {
  each<kCount>([&](auto i) QUERN_INLINE_LAMBDA {
    constexpr int kk = kFirst + i.value;
    decltype(load(Index<0>{}, Index<0>{})) w[P];
    each<P>([&](auto p) QUERN_INLINE_LAMBDA { w[p] = load(p, Index<kk>{}); });
    each<W>([&](auto t) QUERN_INLINE_LAMBDA {
      const auto four = Isa::broadcast_codes(x + 4 * S * kk + 4 * t);
      each<P>([&](auto p)
                  QUERN_INLINE_LAMBDA { product(Index<p.value * W + t.value>{}, i, w[p], four); });
    });
  });
}

/// For instructions that sum four products into 32 bits.
template <class Isa, int kFirst, int kCount, int P, int W, int S, class Code, class Start>
QUERN_INLINE void dot_of_fours(typename Isa::I (&sum)[P * W], Code code, const std::byte* x,
                               Start start) {
  each<P * W>([&](auto i) QUERN_INLINE_LAMBDA { sum[i] = start(Index<i.value % W>{}); });
  for_products<Isa, kFirst, kCount, P, W, S>(
      code, x, [&](auto at, auto, auto w, auto four) QUERN_INLINE_LAMBDA {
        sum[at] = Isa::wide_dot(sum[at], w, four);
      });
}

/// Steps whose products of numbers of these magnitudes add up in 16 bits, two a step.
template <int kMagnitude, int kOther>
constexpr int pair_sums_of() {
  return 32767 / (2 * kMagnitude * kOther);
}

/// For instructions that sum two products into 16 bits: sums of pairs stay there as long as they
/// fit. Codes beyond 7 bits go by magnitude and sign (Isa::Wide), a step at a time.
template <class Isa, int kMax, int kFirst, int kCount, int P, int W, int S, class Code, class Start>
QUERN_INLINE void dot_of_pairs(typename Isa::I (&sum)[P * W], Code code, const std::byte* x,
                               Start start) {
  if constexpr (kMax > 127) {
    each<P * W>([&](auto i) QUERN_INLINE_LAMBDA { sum[i] = Isa::zero_ints(); });
    for_products<Isa, kFirst, kCount, P, W, S>(
        [&](auto p, auto kk) QUERN_INLINE_LAMBDA { return Isa::wide(code(p, kk)); }, x,
        [&](auto at, auto, const auto& w, auto four)
            QUERN_INLINE_LAMBDA { sum[at] = Isa::wide_dot(sum[at], w, four); });
  } else {
    constexpr int kFlush = pair_sums_of<kMax, 127>();
    typename Isa::I pairs[P * W];
    for_products<Isa, kFirst, kCount, P, W, S>(
        code, x, [&](auto at, auto i, auto w, auto four) QUERN_INLINE_LAMBDA {
          const auto two = Isa::pair_products(w, four);
          pairs[at] = i.value % kFlush == 0 ? two : Isa::add_pairs(pairs[at], two);
          if constexpr (i.value % kFlush == kFlush - 1 || i.value == kCount - 1) {
            if constexpr (i.value < kFlush) sum[at] = start(Index<at.value % W>{});
            sum[at] = Isa::add_pair_sums(sum[at], pairs[at]);
          }
        });
  }
}

}  // namespace
}  // namespace quern::kernels
