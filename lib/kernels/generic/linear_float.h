/// \file
/// Matrix products with float weights: acc = fma(w, x, acc) in order of k, a lane per output row.
#pragma once

#include "kernels/generic/linear_common.h"

namespace quern::kernels {
namespace {

template <class Isa, Encoding E>
struct FloatLinear {
  using F = typename Isa::F;
  static constexpr int kBytes = E == Encoding::kF32 ? 4 : 2;

  static QUERN_INLINE F weights(const std::byte* p) {
    if constexpr (E == Encoding::kF32) return Isa::load(reinterpret_cast<const float*>(p));
    if constexpr (E == Encoding::kF16) return Isa::halves(p);
    if constexpr (E == Encoding::kBF16) return Isa::brain_halves(p);
  }

  template <int P, int W, int S>
  static void tile(const LinearArgs& args, const std::byte* w, std::int64_t n0, std::int64_t t0,
                   const std::byte* x) {
    F acc[P * W];
    each<P * W>([&](auto i) QUERN_INLINE_LAMBDA { acc[i] = Isa::zero(); });
    for (std::int64_t k = 0; k < args.k; ++k) {
      each<P>([&](auto p) QUERN_INLINE_LAMBDA {
        const F row = weights(w + kBytes * Isa::kRows * p);
        each<W>([&](auto t) QUERN_INLINE_LAMBDA {
          acc[p * W + t] = Isa::fma(row, Isa::broadcast(x + 4 * t), acc[p * W + t]);
        });
      });
      w += kBytes * kPanelRows;
      x += 4 * S;
    }
    each<P>([&](auto p) QUERN_INLINE_LAMBDA {
      each<W>([&](auto t) QUERN_INLINE_LAMBDA {
        store_result<Isa>(args, n0 + Isa::kRows * p, t0 + t, acc[p * W + t]);
      });
    });
  }

  /// One row and N panels from `panel` on: with fewer sums under way an fma's latency is the bound.
  template <int N>
  static void one_row(const LinearArgs& args, std::int64_t bytes, std::int64_t panel) {
    F acc[N * Isa::kParts];
    each<N * Isa::kParts>([&](auto i) QUERN_INLINE_LAMBDA { acc[i] = Isa::zero(); });
    const std::byte* w = args.weights + panel * bytes;
    for (std::int64_t k = 0; k < args.k; ++k, w += kBytes * kPanelRows) {
      const F x = Isa::broadcast(args.x + 4 * k);
      each<N * Isa::kParts>([&](auto i) QUERN_INLINE_LAMBDA {
        constexpr int kPanel = i.value / Isa::kParts, kPart = i.value % Isa::kParts;
        const F row = weights(w + kPanel * bytes + kBytes * Isa::kRows * kPart);
        acc[i] = Isa::fma(row, x, acc[i]);
      });
    }
    each<N * Isa::kParts>([&](auto i) QUERN_INLINE_LAMBDA {
      store_result<Isa>(args, panel * kPanelRows + Isa::kRows * i, 0, acc[i]);
    });
  }

  static void run_one_row(const LinearArgs& args) {
    constexpr int kTogether = 4;
    const std::int64_t bytes = panel_geometry(E, args.k).panel_bytes;
    std::int64_t panel = args.panel_begin;
    for (; panel + kTogether <= args.panel_end; panel += kTogether)
      one_row<kTogether>(args, bytes, panel);
    for (; panel < args.panel_end; ++panel) one_row<1>(args, bytes, panel);
  }

  static void run(const LinearArgs& args) {
    if (args.rows == 1) return run_one_row(args);
    for_cached_rows<Isa>(args, f32_row_bytes(args.k), run_rows);
  }

  static void run_rows(const LinearArgs& args) {
    const std::int64_t bytes = panel_geometry(E, args.k).panel_bytes;
    const std::int64_t row_bytes = f32_row_bytes(args.k);
    for (std::int64_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
      const std::byte* w = args.weights + panel * bytes;
      for_tiles<Isa>(args.rows, [&](auto p, auto width, auto packed, int part, std::int64_t r0,
                                    int column) QUERN_INLINE_LAMBDA {
        tile<p.value, width.value, packed.value>(args, w + kBytes * Isa::kRows * part,
                                                 panel * kPanelRows + Isa::kRows * part,
                                                 r0 + column, args.x + r0 * row_bytes + 4 * column);
      });
    }
  }

  static void install(KernelTable& table) { set_linear(table, E, run); }
};

}  // namespace
}  // namespace quern::kernels
