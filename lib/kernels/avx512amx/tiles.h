/// \file
/// AMX: products of whole tiles of 8-bit numbers, exactly (Intel SDM, volume 1, chapter 18).
///
/// One tile product adds 16 activation rows × 64 of k times 64 of k × 16 output rows. Sixteen steps
/// of
/// `[16 rows][4]` of a panel's 8-bit codes are a B tile as they lie; activations are an A tile,
/// `[16][64]`.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/generic/inline.h"

namespace quern::kernels {
namespace {

constexpr std::int64_t kTileRows = 16;     ///< Activation rows of a tile.
constexpr std::int64_t kTileK = 64;        ///< Elements of k of a tile.
constexpr std::int64_t kTileBytes = 1024;  ///< Of any full tile.

/// Gives this thread eight full tiles while it lives; a thread without configured tiles is what the
/// rest of the process expects.
class TileScope {
 public:
  TileScope() noexcept {
    alignas(64) std::uint8_t config[64] = {};
    config[0] = 1;  // Palette.
    for (int tile = 0; tile < 8; ++tile) {
      config[16 + 2 * tile] = 64;  // Bytes of a row.
      config[48 + tile] = 16;      // Rows.
    }
    _tile_loadconfig(config);
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
  ~TileScope() { _tile_release(); }
};

/// GCC's tile intrinsics do not say that they read and write memory.
QUERN_INLINE void memory_fence() { __asm__ volatile("" ::: "memory"); }

/// sums `[2 row tiles][2 panels][16 rows][16 output rows]` int32 = Σ a·b over `steps` tiles of k.
/// \param a row tiles of A, `a_stride` bytes from row to row. \param b0, b1 codes of two panels.
QUERN_INLINE void multiply_tiles(const std::byte* a, std::int64_t a_stride, const std::byte* b0,
                                 const std::byte* b1, std::int64_t steps, std::int32_t* sums) {
  memory_fence();
  const std::byte* a1 = a + kTileRows * a_stride;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t step = 0; step < steps; ++step) {
    _tile_loadd(4, a, a_stride);
    _tile_loadd(6, b0, 64);
    _tile_loadd(7, b1, 64);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_loadd(5, a1, a_stride);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
    a += kTileK;
    a1 += kTileK;
    b0 += kTileBytes;
    b1 += kTileBytes;
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  _tile_stored(2, sums + 512, 64);
  _tile_stored(3, sums + 768, 64);
  memory_fence();
}

}  // namespace
}  // namespace quern::kernels
