/// \file
/// Matrix products of the family kQ8Rotated: one exact int32 sum for the whole row, one rounding.
///
/// qr8 panels and expanded panels of the others hold codes + 128 as `[K/4][16 rows][4]`; two parts
/// of one panel or of neighbouring panels are swept together (three would leave the first-level
/// cache: 88 % of the integer peak against 94 % on Zen 4). Few rows go from the panel's own bits.
#pragma once

#include "kernels/generic/linear_common.h"
#include "kernels/generic/rotated_dot.h"
#include "kernels/generic/rotated_sweep.h"

namespace quern::kernels {
namespace {

/// Rows from which expanding a panel pays.
constexpr std::int64_t kExpandRotatedFromRows = 12;
/// Panels that are expanded and swept together.
constexpr std::int64_t kPanelsAtOnce = 2;

template <class Isa>
struct RotatedLinear {
  using F = typename Isa::F;
  using I = typename Isa::I;

  /// One part of 16 rows: where its codes and its row scales lie, and its first output row.
  struct Strip {
    const std::byte* codes;
    const std::byte* scales;
    std::int64_t n0;
  };

  template <int P, int W, int S>
  static QUERN_INLINE void finish(const LinearArgs& args, const Strip (&strip)[P], std::int64_t t0,
                                  const std::byte* trailer, const I (&acc)[P * W]) {
    each<P>([&](auto p) QUERN_INLINE_LAMBDA {
      const F dw = Isa::load(reinterpret_cast<const float*>(strip[p].scales));
      each<W>([&](auto t) QUERN_INLINE_LAMBDA {
        const F scale = Isa::mul(dw, Isa::broadcast(trailer + 4 * t));
        store_result<Isa>(args, strip[p].n0, t0 + t,
                          Isa::mul(Isa::to_float(acc[p * W + t]), scale));
      });
    });
  }

  /// W rows packed S wide against P strips of codes + 128.
  template <int P, int W, int S>
  static void tile(const LinearArgs& args, const Strip (&strip)[P], NextPanel next, std::int64_t t0,
                   const std::byte* x) {
    const std::int64_t blocks = round_up(args.k, 64) / 32;
    const std::byte* trailer = x + blocks * kRotatedRecord * S;
    I acc[P * W];
    each<W>([&](auto t) QUERN_INLINE_LAMBDA {
      const I start = Isa::wide_start(trailer + 4 * S + 4 * t);
      each<P>([&](auto p) QUERN_INLINE_LAMBDA { acc[p * W + t] = start; });
    });
    const std::byte* codes[P];
    each<P>([&](auto p) QUERN_INLINE_LAMBDA { codes[p] = strip[p].codes; });
    for (std::int64_t b = 0; b < blocks; ++b, x += kRotatedRecord * S) {
      if constexpr (S < 8) next.fetch();
      each<8>([&](auto kk) QUERN_INLINE_LAMBDA {
        typename Isa::Wide w[P];
        each<P>([&](auto p) QUERN_INLINE_LAMBDA {
          w[p] = Isa::wide(Isa::load_codes(codes[p] + 512 * b + 64 * kk));
        });
        each<W>([&](auto t) QUERN_INLINE_LAMBDA {
          const auto four = Isa::broadcast_codes(x + 4 * S * kk + 4 * t);
          each<P>([&](auto p) QUERN_INLINE_LAMBDA {
            acc[p * W + t] = Isa::wide_dot(acc[p * W + t], w[p], four);
          });
        });
      });
    }
    finish<P, W, S>(args, strip, t0, trailer, acc);
  }

  /// From a panel's own bits: sums of 16 times their sub-scale.
  template <class Codes, int W, int S>
  static void tile_direct(const LinearArgs& args, const Codes& part, const Strip (&strip)[1],
                          NextPanel next, std::int64_t t0, const std::byte* x) {
    const std::int64_t blocks = round_up(args.k, 64) / 32;
    I acc[W];
    each<W>([&](auto t) QUERN_INLINE_LAMBDA { acc[t] = Isa::zero_ints(); });
    for (std::int64_t b = 0; b < blocks; ++b, x += kRotatedRecord * S) {
      if constexpr (S < 8) next.fetch();
      if constexpr (Isa::kSumsPairs) {
        add_block_of_pairs<Isa, Codes, W, S>(acc, part, b, x);
      } else {
        add_block_of_fours<Isa, Codes, W, S>(acc, part, b, x);
      }
    }
    finish<1, W, S>(args, strip, t0, x, acc);
  }

  /// Writes (code − offset)·sub-scale + 128 of one part of a panel.
  template <class Codes>
  static void expand(const Codes& from, std::int64_t blocks, std::byte* to) {
    to += 4 * Isa::kRows * from.part;
    for (std::int64_t b = 0; b < blocks; ++b, to += 512) {
      // All is read before anything is written, which could be the panel for all the compiler
      // knows.
      const auto first = Isa::template scaling<Codes::kOffset>(from.template sub<0>(b));
      const auto second = Isa::template scaling<Codes::kOffset>(from.template sub<1>(b));
      typename Isa::C code[8];
      each<8>([&](auto kk) QUERN_INLINE_LAMBDA { code[kk] = from.template code<kk.value>(b); });
      each<8>([&](auto kk) QUERN_INLINE_LAMBDA {
        Isa::store_codes(to + 64 * kk, Isa::scale_codes(code[kk], kk < 4 ? first : second));
      });
    }
  }

  template <int P>
  static QUERN_INLINE void sweep(const LinearArgs& args, const Strip (&strip)[P], NextPanel next) {
    const std::int64_t row_bytes = rotated_row_bytes(args.k);
    for (std::int64_t r0 = 0; r0 < args.rows;) {
      const std::int64_t w = subtile_width(args.rows - r0);
      const std::byte* x = args.x + r0 * row_bytes;
      const NextPanel few = next.of_few(args, r0);
      if (w == 8) {
        next.fetch();
        for (int column = 0; column < 8; column += Isa::kTile) {
          tile<P, Isa::kTile, 8>(args, strip, {}, r0 + column, x + 4 * column);
        }
      } else if (w == 4) {
        tile<P, 4, 4>(args, strip, few, r0, x);
      } else if (w == 2) {
        tile<P, 2, 2>(args, strip, few, r0, x);
      } else {
        tile<P, 1, 1>(args, strip, few, r0, x);
      }
      r0 += w;
    }
  }

  /// Sweeps `count` panels whose codes lie `code_bytes` apart and whose scales as the panels.
  static void sweep_panels(const LinearArgs& args, std::int64_t first, std::int64_t count,
                           const std::byte* codes, std::int64_t code_bytes, const std::byte* scales,
                           const PanelGeometry& geometry) {
    constexpr std::int64_t kPanels = Isa::kParts == 1 ? 2 : 1;  // Of two strips.
    const auto strip = [&](std::int64_t i) QUERN_INLINE_LAMBDA {
      const std::int64_t panel = i / Isa::kParts, part = i % Isa::kParts;
      return Strip{codes + panel * code_bytes + 4 * Isa::kRows * part,
                   scales + panel * geometry.panel_bytes + 4 * Isa::kRows * part,
                   (first + panel) * kPanelRows + Isa::kRows * part};
    };
    const std::int64_t strips = count * Isa::kParts;
    std::int64_t i = 0;
    for (; i + 2 <= strips; i += 2) {
      const Strip two[2] = {strip(i), strip(i + 1)};
      NextPanel next;
      if (i % Isa::kParts == 0)
        next.follow(args, first + i / Isa::kParts + kPanels, kPanels, geometry);
      sweep<2>(args, two, next);
    }
    for (; i < strips; ++i) {
      const Strip one[1] = {strip(i)};
      sweep<1>(args, one, {});
    }
  }

  static void run_qr8(const LinearArgs& args) {
    const PanelGeometry g = panel_geometry(Encoding::kQR8, args.k);
    const std::byte* base = args.weights + args.panel_begin * g.panel_bytes;
    const auto sweep_rows = [&](const LinearArgs& rows) QUERN_INLINE_LAMBDA {
      sweep_panels(rows, args.panel_begin, args.panel_end - args.panel_begin, base + g.stream[0],
                   g.panel_bytes, base + g.stream[1], g);
    };
    for_cached_rows<Isa>(args, rotated_row_bytes(args.k), sweep_rows);
  }

  template <Encoding E>
  static void run_direct(const LinearArgs& args, const PanelGeometry& g) {
    using Codes = RotatedCodes<Isa, E>;
    const std::int64_t row_bytes = rotated_row_bytes(args.k);
    for (std::int64_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
      const std::byte* base = args.weights + panel * g.panel_bytes;
      for (int part = 0; part < Isa::kParts; ++part) {
        const Codes codes(base, g, part);
        const Strip strip[1] = {{nullptr,
                                 base + g.stream[Codes::kScaleStream] + 4 * Isa::kRows * part,
                                 panel * kPanelRows + Isa::kRows * part}};
        NextPanel next;
        if (part == 0) next.follow(args, panel + 1, 1, g);
        for (std::int64_t r0 = 0; r0 < args.rows;) {
          const std::int64_t w = subtile_width(args.rows - r0);
          const std::byte* x = args.x + r0 * row_bytes;
          const NextPanel few = next.of_few(args, r0);
          if (w == 8) {
            next.fetch();
            tile_direct<Codes, 4, 8>(args, codes, strip, {}, r0, x);
            tile_direct<Codes, 4, 8>(args, codes, strip, {}, r0 + 4, x + 16);
          } else if (w == 4) {
            tile_direct<Codes, 4, 4>(args, codes, strip, few, r0, x);
          } else if (w == 2) {
            tile_direct<Codes, 2, 2>(args, codes, strip, few, r0, x);
          } else {
            tile_direct<Codes, 1, 1>(args, codes, strip, few, r0, x);
          }
          r0 += w;
        }
      }
    }
  }

  template <Encoding E>
  static void run(const LinearArgs& args) {
    const PanelGeometry g = panel_geometry(E, args.k);
    if (args.rows < kExpandRotatedFromRows) return run_direct<E>(args, g);
    if constexpr (Isa::kSumsPairs) {
      RotatedSweep<Isa>::template run<E>(args, g);
    } else {
      run_expanded<E>(args, g);
    }
  }

  template <Encoding E>
  static void run_expanded(const LinearArgs& args, const PanelGeometry& g) {
    using Codes = RotatedCodes<Isa, E>;
    const std::int64_t blocks = round_up(args.k, 64) / 32, code_bytes = 512 * blocks;
    for (std::int64_t panel = args.panel_begin; panel < args.panel_end;) {
      const std::int64_t left = args.panel_end - panel,
                         count = left < kPanelsAtOnce ? left : kPanelsAtOnce;
      const std::byte* base = args.weights + panel * g.panel_bytes;
      for (std::int64_t i = 0; i < count * Isa::kParts; ++i) {
        const std::int64_t which = i / Isa::kParts;
        const Codes part(base + which * g.panel_bytes, g, static_cast<int>(i % Isa::kParts));
        expand(part, blocks, args.scratch + which * code_bytes);
      }
      sweep_panels(args, panel, count, args.scratch, code_bytes,
                   base + g.stream[Codes::kScaleStream], g);
      panel += count;
    }
  }

  static void install(KernelTable& table) {
    set_linear(table, Encoding::kQR8, run_qr8);
    set_linear(table, Encoding::kQR4, run<Encoding::kQR4>);
    set_linear(table, Encoding::kQR3, run<Encoding::kQR3>);
    set_linear(table, Encoding::kQR5, run<Encoding::kQR5>);
    set_linear(table, Encoding::kQR6, run<Encoding::kQR6>);
  }
};

}  // namespace
}  // namespace quern::kernels
