/// \file
/// Matrix products of the family kQ8Group32 (order of arithmetic: kernel_table.h, LinearArgs).
///
/// Few rows: codes go from the panel's own bits to registers. Many: the panel is expanded once into
/// scratch (codes of 8 bits, float scales), the same tile then reads that for full subtiles.
///
/// What bounds it: per 4·8 products of a vector the law wants one multiplication dw·dx and one
/// (with minima two) fma where an instruction of eight products took eight; so 8/10 (8/11) of an
/// instruction set's peak where products and float arithmetic share their ports (AMD Zen 4, Intel).
#pragma once

#include "kernels/generic/group_codes.h"
#include "kernels/generic/linear_common.h"

namespace quern::kernels {
namespace {

/// A part of a panel in scratch, per 32 of k: 512 bytes of codes, then kHalves vectors dw and,
/// where there are minima, kHalves vectors mw.
template <class Isa, class Rule>
struct ExpandedCodes : Rule {
  static constexpr int kBlockBytes = 512 + 64 * Rule::kHalves * (Rule::kMin ? 2 : 1);
  const std::byte* at;

  QUERN_INLINE ExpandedCodes(const std::byte* scratch, int part)
      : at(scratch + 4 * Isa::kRows * part) {}
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return Isa::load_codes(at + kBlockBytes * b + 64 * kk);
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int h) const { return scale(b, h); }
  QUERN_INLINE typename Isa::F mw(std::int64_t b, int h) const {
    return scale(b, Rule::kHalves + h);
  }

 private:
  QUERN_INLINE typename Isa::F scale(std::int64_t b, int which) const {
    return Isa::load(reinterpret_cast<const float*>(at + kBlockBytes * b + 512 + 64 * which));
  }
};

/// Parts of a panel. By value, so that their addresses lie in registers.
template <class Codes, int P>
struct GroupParts {
  Codes of[P];
};

/// W rows of a subtile packed S wide against P parts of a panel.
template <class Isa, int P, int W, int S, class Codes>
void group_tile(const LinearArgs& args, GroupParts<Codes, P> part, NextPanel next, std::int64_t n0,
                std::int64_t t0, const std::byte* x) {
  constexpr int kHalves = Codes::kHalves, kSteps = 8 / kHalves;
  constexpr bool whole = kHalves == 1;
  using F = typename Isa::F;
  using I = typename Isa::I;
  F acc[P * W];
  each<P * W>([&](auto i) QUERN_INLINE_LAMBDA { acc[i] = Isa::zero(); });
  const std::int64_t blocks = (args.k + 31) / 32;
  for (std::int64_t b = 0; b < blocks; ++b, x += kGroupRecord * S) {
    if constexpr (S < 8) next.fetch();
    each<kHalves>([&](auto h) QUERN_INLINE_LAMBDA {
      const std::byte* starts = x + (whole ? kGroupStart : kGroupHalfStarts + 4 * h) * S;
      const std::byte* sums = x + (whole ? kGroupSum : kGroupHalfSums + 4 * h) * S;
      I sum[P * W];
      Isa::template dot<Codes::kMax, Codes::kOffset, h.value * kSteps, kSteps, P, W, S>(
          sum,
          [&](auto p, auto kk)
              QUERN_INLINE_LAMBDA { return part.of[p].template code<kk.value>(b); },
          x,
          [&](auto t) QUERN_INLINE_LAMBDA {
            return Isa::template offset_start<Codes::kOffset>(starts + 4 * t);
          });
      each<P>([&](auto p) QUERN_INLINE_LAMBDA {
        const F dw = part.of[p].dw(b, h);
        each<W>([&](auto t) QUERN_INLINE_LAMBDA {
          const F scale = Isa::mul(dw, Isa::broadcast(x + kGroupScale * S + 4 * t));
          F& own = acc[p * W + t];
          own = Isa::fma(Isa::to_float(sum[p * W + t]), scale, own);
        });
        if constexpr (Codes::kMin) {
          const F mw = part.of[p].mw(b, h);
          each<W>([&](auto t) QUERN_INLINE_LAMBDA {
            F& own = acc[p * W + t];
            own = Isa::fma(mw, Isa::broadcast(sums + 4 * t), own);
          });
        }
      });
    });
  }
  each<P>([&](auto p) QUERN_INLINE_LAMBDA {
    each<W>([&](auto t) QUERN_INLINE_LAMBDA {
      store_result<Isa>(args, n0 + Isa::kRows * p, t0 + t, acc[p * W + t]);
    });
  });
}

/// Rows from which expanding a panel pays, where its codes are not ready.
constexpr std::int64_t kExpandGroupFromRows = 16;

template <class Isa, Encoding E>
struct GroupLinear {
  using Direct = GroupCodes<Isa, E>;
  /// What expanded codes are more than the panel's: with an offset of 128, sums begin with a number
  /// of the record as it stands.
  static constexpr int kMore = !Isa::kSumsPairs && Direct::kOffset != 0 ? 128 - Direct::kOffset : 0;
  using Rule =
      GroupRule<Direct::kMax + kMore, Direct::kOffset + kMore, Direct::kHalves, Direct::kMin>;
  using Expanded = ExpandedCodes<Isa, Rule>;

  /// Pairs are so many instructions that a mask is felt among them.
  static constexpr bool kReady = Direct::kReady && !(Isa::kSumsPairs && Direct::kMax < 16);

  static void expand(const Direct& from, int part, std::int64_t blocks, std::byte* scratch) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      std::byte* to = scratch + Expanded::kBlockBytes * b + 4 * Isa::kRows * part;
      each<8>([&](auto kk) QUERN_INLINE_LAMBDA {
        Isa::store_codes(to + 64 * kk, Isa::template plus<kMore>(from.template code<kk.value>(b)));
      });
      each<Direct::kHalves>([&](auto h) QUERN_INLINE_LAMBDA {
        Isa::store(reinterpret_cast<float*>(to + 512 + 64 * h), from.dw(b, h));
        if constexpr (Direct::kMin) {
          Isa::store(reinterpret_cast<float*>(to + 512 + 64 * (Direct::kHalves + h)),
                     from.mw(b, h));
        }
      });
    }
  }

  /// One tile of parts made by make(part).
  template <int P, int W, int S, class Make>
  static QUERN_INLINE void tile(const LinearArgs& args, Make make, NextPanel next,
                                std::int64_t panel, int part, std::int64_t t0, const std::byte* x) {
    using Codes = decltype(make(0));
    const std::int64_t n0 = panel * kPanelRows + Isa::kRows * part;
    if constexpr (P == 1) {
      group_tile<Isa, 1, W, S>(args, GroupParts<Codes, 1>{{make(part)}}, next, n0, t0, x);
    } else if constexpr (P == 2) {
      group_tile<Isa, 2, W, S>(args, GroupParts<Codes, 2>{{make(part), make(part + 1)}}, next, n0,
                               t0, x);
    } else {
      group_tile<Isa, 4, W, S>(
          args, GroupParts<Codes, 4>{{make(part), make(part + 1), make(part + 2), make(part + 3)}},
          next, n0, t0, x);
    }
  }

  /// Multiplies one panel with all rows; `full` makes a part for full subtiles, `few` for the
  /// others.
  template <class MakeFull, class MakeFew>
  static QUERN_INLINE void sweep(const LinearArgs& args, const PanelGeometry& geometry,
                                 std::int64_t panel, MakeFull full, MakeFew few) {
    const std::int64_t row_bytes = group_row_bytes(args.k);
    NextPanel next;
    next.follow(args, panel + 1, 1, geometry);
    const auto each_tile = [&](auto p, auto width, auto packed, int part, std::int64_t r0,
                               int column) QUERN_INLINE_LAMBDA {
      constexpr int P = p.value, W = width.value, S = packed.value;
      const std::byte* x = args.x + r0 * row_bytes + 4 * column;
      if constexpr (S == 8) {
        if (part == 0 && column == 0) next.fetch();
        tile<P, W, S>(args, full, {}, panel, part, r0 + column, x);
      } else {
        const NextPanel own = part == 0 ? next.of_few(args, r0) : NextPanel{};
        tile<P, W, S>(args, few, own, panel, part, r0, x);
      }
    };
    for_tiles<Isa, Isa::kGroupParts>(args.rows, each_tile);
  }

  static void run(const LinearArgs& args) {
    const PanelGeometry geometry = panel_geometry(E, args.k);
    for (std::int64_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
      const std::byte* base = args.weights + panel * geometry.panel_bytes;
      const auto own = [&](int part) QUERN_INLINE_LAMBDA { return Direct(base, geometry, part); };
      if (kReady || args.rows < kExpandGroupFromRows) {
        sweep(args, geometry, panel, own, own);
        continue;
      }
      if constexpr (!kReady) {
        for (int part = 0; part < Isa::kParts; ++part) {
          expand(own(part), part, (args.k + 31) / 32, args.scratch);
        }
        sweep(
            args, geometry, panel,
            [&](int part) QUERN_INLINE_LAMBDA { return Expanded(args.scratch, part); }, own);
      }
    }
  }

  static void install(KernelTable& table) { set_linear(table, E, run); }
};

}  // namespace
}  // namespace quern::kernels
