#include "kernels/avx512amx/tiles.h"
#include "kernels/avx512vnni/ops.h"
#include "kernels/generic/linear_rotated.h"
#include "kernels/install.h"

namespace quern::kernels {
namespace {

using Isa = Avx512Vnni;
using Vnni = RotatedLinear<Avx512Vnni>;

/// Rows from which tiles pay: fewer would leave most of a tile empty.
constexpr std::int64_t kTilesFromRows = 12;

/// Where a thread's scratch holds what the tiles read. Rows are taken in blocks that stay in the
/// second-level cache (rotated_block_rows); panels, two at a time, are expanded once a block.
struct Scratch {
  std::byte* rows;       ///< int8 `[block rows][K]`.
  float* scales;         ///< `[block rows]`
  std::int32_t* starts;  ///< `[block rows]`: −128·Σ of the row's codes.
  std::byte* panels;     ///< Two expanded panels.

  Scratch(std::byte* at, std::int64_t block_rows, std::int64_t k)
      : rows(at),
        scales(reinterpret_cast<float*>(at + block_rows * k)),
        starts(reinterpret_cast<std::int32_t*>(scales + block_rows)),
        panels(at + block_rows * (k + 8)) {}
};

/// Transposes a record of 8 rows, `[8 steps of 4][8 rows][4]`, into 32 bytes a row.
QUERN_INLINE void unpack_record(const std::byte* record, std::byte* out, std::int64_t stride) {
  const __m512i low = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
  const __m512i high =
      _mm512_setr_epi32(4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31);
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i second =
      _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  __m512i z[4];
  each<4>([&](auto i) QUERN_INLINE_LAMBDA { z[i] = _mm512_loadu_si512(record + 64 * i); });
  const __m512i quads[4] = {
      _mm512_permutex2var_epi32(z[0], low, z[1]), _mm512_permutex2var_epi32(z[2], low, z[3]),
      _mm512_permutex2var_epi32(z[0], high, z[1]), _mm512_permutex2var_epi32(z[2], high, z[3])};
  each<4>([&](auto i) QUERN_INLINE_LAMBDA {
    constexpr int half = i.value / 2;
    const __m512i two = _mm512_permutex2var_epi32(
        quads[2 * half], i.value % 2 == 0 ? first : second, quads[2 * half + 1]);
    std::byte* row = out + 2 * i * stride;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), _mm512_castsi512_si256(two));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + stride),
                        _mm512_extracti64x4_epi64(two, 1));
  });
}

/// The same for a subtile of w < 8 rows.
void unpack_narrow_record(const std::byte* record, std::int64_t w, std::byte* out,
                          std::int64_t stride) {
  for (int kk = 0; kk < 8; ++kk) {
    for (std::int64_t t = 0; t < w; ++t) {
      const auto four = peek<std::int32_t>(record + 4 * (w * kk + t));
      __builtin_memcpy(out + t * stride + 4 * kk, &four, sizeof four);
    }
  }
}

/// Lays rows [r0, r0 + count) out for the tiles; the rows up to `padded` are zero.
void load_rows(const LinearArgs& args, std::int64_t r0, std::int64_t count, std::int64_t padded,
               const Scratch& scratch) {
  const std::int64_t k = round_up(args.k, 64), blocks = k / 32,
                     row_bytes = rotated_row_bytes(args.k);
  for (std::int64_t r = 0; r < count;) {
    const std::int64_t w = subtile_width(args.rows - (r0 + r));
    const std::byte* x = args.x + (r0 + r) * row_bytes;
    std::byte* out = scratch.rows + r * k;
    for (std::int64_t b = 0; b < blocks; ++b, x += kRotatedRecord * w, out += 32) {
      if (w == 8) {
        unpack_record(x, out, k);
      } else {
        unpack_narrow_record(x, w, out, k);
      }
    }
    for (std::int64_t t = 0; t < w; ++t) {
      scratch.scales[r + t] = peek<float>(x + 4 * t);
      scratch.starts[r + t] = -128 * peek<std::int32_t>(x + 4 * w + 4 * t);
    }
    r += w;
  }
  __builtin_memset(scratch.rows + count * k, 0, static_cast<std::size_t>((padded - count) * k));
}

/// Finishes up to 16 rows of one panel: `sums` `[16][16]`.
QUERN_INLINE void finish_tile(const LinearArgs& args, const Scratch& scratch,
                              const std::int32_t* sums, const std::byte* row_scales,
                              std::int64_t n0, std::int64_t r0, std::int64_t first,
                              std::int64_t count) {
  const __m512 dw = Isa::load(reinterpret_cast<const float*>(row_scales));
  for (std::int64_t t = 0; t < count; ++t) {
    const __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums + 16 * t),
                                         _mm512_set1_epi32(scratch.starts[first + t]));
    const __m512 scale = _mm512_mul_ps(dw, _mm512_set1_ps(scratch.scales[first + t]));
    store_result<Isa>(args, n0, r0 + first + t, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
  }
}

/// Multiplies the rows in scratch with two panels (or one, given twice).
void sweep_rows(const LinearArgs& args, const Scratch& scratch, std::int64_t r0, std::int64_t count,
                std::int64_t panel, std::int64_t panels, const std::byte* const (&codes)[2],
                const std::byte* const (&row_scales)[2]) {
  alignas(64) std::int32_t sums[4 * 256];
  const std::int64_t k = round_up(args.k, 64);
  for (std::int64_t first = 0; first < count; first += 2 * kTileRows) {
    multiply_tiles(scratch.rows + first * k, k, codes[0], codes[1], k / kTileK, sums);
    for (std::int64_t half = 0; half < 2; ++half) {
      const std::int64_t at = first + half * kTileRows;
      const std::int64_t left = count - at < kTileRows ? count - at : kTileRows;
      for (std::int64_t p = 0; p < panels && left > 0; ++p) {
        finish_tile(args, scratch, sums + 512 * half + 256 * p, row_scales[p],
                    (panel + p) * kPanelRows, r0, at, left);
      }
    }
  }
}

/// qr8's codes are read where they lie, those of the others are made in scratch.
template <Encoding E>
void run_tiles(const LinearArgs& args) {
  const PanelGeometry g = panel_geometry(E, args.k);
  const std::int64_t k = round_up(args.k, 64), block_rows = rotated_block_rows(args.k);
  const Scratch scratch(args.scratch, block_rows, k);
  const TileScope tiles;
  for (std::int64_t r0 = 0; r0 < args.rows; r0 += block_rows) {
    const std::int64_t count = args.rows - r0 < block_rows ? args.rows - r0 : block_rows;
    load_rows(args, r0, count, round_up(count, 2 * kTileRows), scratch);
    for (std::int64_t panel = args.panel_begin; panel < args.panel_end; panel += 2) {
      const std::int64_t panels = args.panel_end - panel < 2 ? 1 : 2;
      const std::byte* codes[2];
      const std::byte* row_scales[2];
      for (std::int64_t p = 0; p < 2; ++p) {
        const std::byte* base = args.weights + (panel + (p < panels ? p : 0)) * g.panel_bytes;
        codes[p] = base + g.stream[0];
        if constexpr (E == Encoding::kQR8) {
          row_scales[p] = base + g.stream[1];
        } else {
          using Codes = RotatedCodes<Isa, E>;
          row_scales[p] = base + g.stream[Codes::kScaleStream];
          std::byte* expanded = scratch.panels + p * kPanelRows * k;
          Vnni::expand(Codes(base, g, 0), k / 32, expanded);
          codes[p] = expanded;
        }
      }
      sweep_rows(args, scratch, r0, count, panel, panels, codes, row_scales);
    }
  }
}

void run_qr8(const LinearArgs& args) {
  if (args.rows < kTilesFromRows) return Vnni::run_qr8(args);
  run_tiles<Encoding::kQR8>(args);
}

template <Encoding E>
void run(const LinearArgs& args) {
  if (args.rows < kTilesFromRows) return Vnni::run<E>(args);
  run_tiles<E>(args);
}

}  // namespace

void install_avx512amx(KernelTable& table) {
  set_linear(table, Encoding::kQR8, run_qr8);
  set_linear(table, Encoding::kQR4, run<Encoding::kQR4>);
  set_linear(table, Encoding::kQR3, run<Encoding::kQR3>);
  set_linear(table, Encoding::kQR5, run<Encoding::kQR5>);
  set_linear(table, Encoding::kQR6, run<Encoding::kQR6>);
}

}  // namespace quern::kernels
