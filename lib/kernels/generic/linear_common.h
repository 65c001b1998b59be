/// \file
/// What the families of linear kernels share. `Isa` says how many rows of a panel it holds at once
/// (kRows; a panel has kParts such parts), what it multiplies at once where rows abound (kTile
/// activation rows with kFullParts parts), and has register types F (float32 per row), I (int32 per
/// row), C (4 bytes per row).
#pragma once

#include "kernels/generic/unroll.h"
#include "kernels/install.h"
#include "kernels/packed_rows.h"

namespace quern::kernels {
namespace {

/// Finishes row t of the result for the part of a panel that begins at output row n0.
template <class Isa>
QUERN_INLINE void store_result(const LinearArgs& args, std::int64_t n0, std::int64_t t,
                               typename Isa::F result) {
  float* y = args.y + t * args.y_stride + n0;
  const std::int64_t valid = args.n - n0;
  if (valid >= Isa::kRows) {
    if (args.bias != nullptr) result = Isa::add(result, Isa::load(args.bias + n0));
    if (args.accumulate) result = Isa::add(Isa::load(y), result);
    Isa::store(y, result);
    return;
  }
  float lanes[Isa::kRows];
  Isa::store(lanes, result);
  for (std::int64_t i = 0; i < valid; ++i) {
    float r = lanes[i];
    if (args.bias != nullptr) r = r + args.bias[n0 + i];
    y[i] = args.accumulate ? y[i] + r : r;
  }
}

/// What is asked of memory while a panel is multiplied: the next ones, as one stream. A panel is
/// several short streams, in which the hardware's prefetchers see none. Full subtiles ask once
/// each, fewer rows once per 32 of k. Behind the last panel nothing is read, only asked for.
struct NextPanel {
  const std::byte* at = nullptr;
  std::int64_t lines = 0;  ///< Cache lines that are asked for at once.

  QUERN_INLINE void follow(const LinearArgs& args, std::int64_t panel, std::int64_t count,
                           const PanelGeometry& geometry) {
    follow(args, panel, count, geometry, args.rows < 8 ? (args.k + 31) / 32 : args.rows / 8);
  }
  /// The same where fetch() is called `fetches` times.
  QUERN_INLINE void follow(const LinearArgs& args, std::int64_t panel, std::int64_t count,
                           const PanelGeometry& geometry, std::int64_t fetches) {
    const std::int64_t bytes = count * geometry.panel_bytes;
    at = args.weights + panel * geometry.panel_bytes;
    lines = (bytes + 64 * fetches - 1) / (64 * fetches);
  }
  QUERN_INLINE void fetch() {
    for (std::int64_t i = 0; i < lines; ++i, at += 64) __builtin_prefetch(at, 0, 2);
  }
  /// What the first tile of fewer rows asks for; full subtiles before it have asked already.
  QUERN_INLINE NextPanel of_few(const LinearArgs& args, std::int64_t r0) const {
    return args.rows < 8 && r0 == 0 ? *this : NextPanel{};
  }
};

/// Calls multiply(args of some rows) so that every row is covered: as many rows at once, a multiple
/// of 8, as stay in the second-level cache while all panels go by.
template <class Isa, class Multiply>
QUERN_INLINE void for_cached_rows(const LinearArgs& args, std::int64_t row_bytes,
                                  Multiply multiply) {
  // Half of what processors of the instruction set have at least.
  constexpr std::int64_t kBytes = Isa::kSumsPairs ? 262144 : 524288;
  const std::int64_t fitting = kBytes / row_bytes / 8 * 8, at_once = fitting < 8 ? 8 : fitting;
  for (std::int64_t r0 = 0; r0 < args.rows; r0 += at_once) {
    LinearArgs some = args;
    some.rows = args.rows - r0 < at_once ? args.rows - r0 : at_once;
    some.x += r0 * row_bytes;
    some.y += r0 * args.y_stride;
    multiply(some);
  }
}

/// Calls tile(Index<P>, Index<W>, Index<S>, part, r0, first column) so that every row is covered: W
/// rows at r0 + column of a subtile packed S wide, for P ≤ kMostParts parts of a panel from `part`
/// on.
template <class Isa, int kMostParts = Isa::kParts, class Tile>
QUERN_INLINE void for_tiles(std::int64_t rows, Tile tile) {
  constexpr auto parts = [](int most) { return most < kMostParts ? most : kMostParts; };
  constexpr int kParts = Isa::kParts, kFull = parts(Isa::kFullParts),
                kTwo = parts(kParts < 2 ? 1 : 2), kAll = parts(kParts);
  for (std::int64_t r0 = 0; r0 < rows;) {
    const std::int64_t w = subtile_width(rows - r0);
    if (w == 8) {
      for (int part = 0; part < kParts; part += kFull) {
        for (int column = 0; column < 8; column += Isa::kTile) {
          tile(Index<kFull>{}, Index<Isa::kTile>{}, Index<8>{}, part, r0, column);
        }
      }
    } else if (w == 4) {
      for (int part = 0; part < kParts; part += kTwo) {
        tile(Index<kTwo>{}, Index<4>{}, Index<4>{}, part, r0, 0);
      }
    } else if (w == 2) {
      for (int part = 0; part < kParts; part += kTwo) {
        tile(Index<kTwo>{}, Index<2>{}, Index<2>{}, part, r0, 0);
      }
    } else {
      for (int part = 0; part < kParts; part += kAll) {
        tile(Index<kAll>{}, Index<1>{}, Index<1>{}, part, r0, 0);
      }
    }
    r0 += w;
  }
}

}  // namespace
}  // namespace quern::kernels
