/// \file
/// Matrix products of the family kQ8Group32 (order of arithmetic: kernel_table.h, LinearArgs).
///
/// Subtiles of fewer than 8 rows: codes go from the panel's own bits to registers. Full subtiles:
/// the panel is expanded once into scratch (codes of 8 bits, float scales), the same tile then
/// reads that.
#pragma once

#include <type_traits>

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

/// W rows of a subtile packed S wide against P parts of a panel.
template <class Isa, int P, int W, int S, class Codes>
void group_tile(const LinearArgs& args, const Codes (&part)[P], std::int64_t n0, std::int64_t t0,
                const std::byte* x) {
  constexpr int kHalves = Codes::kHalves, kSteps = 8 / kHalves;
  using F = typename Isa::F;
  using I = typename Isa::I;
  F acc[P * W];
  each<P * W>([&](auto i) QUERN_INLINE_LAMBDA { acc[i] = Isa::zero(); });
  const std::int64_t blocks = (args.k + 31) / 32;
  for (std::int64_t b = 0; b < blocks; ++b, x += kGroupRecord * S) {
    each<P * kHalves>([&](auto i) QUERN_INLINE_LAMBDA {
      constexpr int p = i.value / kHalves, h = i.value % kHalves;
      I sum[W];
      Isa::template dot<Codes::kMax, Codes::kOffset, h * kSteps, kSteps, W, S>(
          sum, [&](auto kk) QUERN_INLINE_LAMBDA { return part[p].template code<kk.value>(b); }, x,
          x + 36 * S);
      const F dw = part[p].dw(b, h);
      each<W>([&](auto t) QUERN_INLINE_LAMBDA {
        const F scale = Isa::mul(dw, Isa::broadcast(x + 32 * S + 4 * t));
        acc[p * W + t] = Isa::fma(Isa::to_float(sum[t]), scale, acc[p * W + t]);
      });
      if constexpr (Codes::kMin) {
        const F mw = part[p].mw(b, h);
        const std::byte* xs = kHalves == 1 ? x + 40 * S : x + (44 + 4 * h) * S;
        each<W>([&](auto t) QUERN_INLINE_LAMBDA {
          acc[p * W + t] = Isa::fma(mw, Isa::broadcast(xs + 4 * t), acc[p * W + t]);
        });
      }
    });
  }
  each<P>([&](auto p) QUERN_INLINE_LAMBDA {
    each<W>([&](auto t) QUERN_INLINE_LAMBDA {
      store_result<Isa>(args, n0 + Isa::kRows * p, t0 + t, acc[p * W + t]);
    });
  });
}

template <class Isa, Encoding E>
struct GroupLinear {
  using Direct = GroupCodes<Isa, E>;
  using Rule = GroupRule<Direct::kMax, Direct::kOffset, Direct::kHalves, Direct::kMin>;
  using Expanded = ExpandedCodes<Isa, Rule>;
  /// Codes of 8 bits are read where they lie.
  using Full = std::conditional_t<E == Encoding::kQ8_0, Direct, Expanded>;

  static void expand(const Direct& from, int part, std::int64_t blocks, std::byte* scratch) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      std::byte* to = scratch + Expanded::kBlockBytes * b + 4 * Isa::kRows * part;
      each<8>([&](auto kk) QUERN_INLINE_LAMBDA {
        Isa::store_codes(to + 64 * kk, from.template code<kk.value>(b));
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

  /// Multiplies one panel with all rows; `full` makes a part for full subtiles, `few` for the
  /// others.
  template <class MakeFull, class MakeFew>
  static QUERN_INLINE void sweep(const LinearArgs& args, std::int64_t panel, MakeFull full,
                                 MakeFew few) {
    const std::int64_t row_bytes = group_row_bytes(args.k);
    for_tiles<Isa>(args.rows, [&](auto p, auto width, auto packed, int part, std::int64_t r0,
                                  int column) QUERN_INLINE_LAMBDA {
      constexpr int kParts = p.value, kWidth = width.value, kPacked = packed.value;
      const std::int64_t n0 = panel * kPanelRows + Isa::kRows * part;
      const std::byte* x = args.x + r0 * row_bytes + 4 * column;
      if constexpr (kPacked == 8) {
        const Full one[1] = {full(part)};
        group_tile<Isa, 1, kWidth, 8>(args, one, n0, r0 + column, x);
      } else if constexpr (kParts == 1) {
        const Direct one[1] = {few(part)};
        group_tile<Isa, 1, kWidth, kPacked>(args, one, n0, r0, x);
      } else if constexpr (kParts == 2) {
        const Direct two[2] = {few(part), few(part + 1)};
        group_tile<Isa, 2, kWidth, kPacked>(args, two, n0, r0, x);
      } else {
        const Direct four[4] = {few(0), few(1), few(2), few(3)};
        group_tile<Isa, 4, kWidth, kPacked>(args, four, n0, r0, x);
      }
    });
  }

  static void run(const LinearArgs& args) {
    const PanelGeometry geometry = panel_geometry(E, args.k);
    for (std::int64_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
      const std::byte* base = args.weights + panel * geometry.panel_bytes;
      const auto few = [&](int part) QUERN_INLINE_LAMBDA { return Direct(base, geometry, part); };
      if constexpr (E == Encoding::kQ8_0) {
        sweep(args, panel, few, few);
      } else {
        for (int part = 0; part < Isa::kParts && args.rows >= kRowTile; ++part) {
          expand(few(part), part, (args.k + 31) / 32, args.scratch);
        }
        sweep(
            args, panel, [&](int part) QUERN_INLINE_LAMBDA { return Expanded(args.scratch, part); },
            few);
      }
    }
  }

  static void install(KernelTable& table) { set_linear(table, E, run); }
};

}  // namespace
}  // namespace quern::kernels
