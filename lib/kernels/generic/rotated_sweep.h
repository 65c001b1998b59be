/// \file
/// Many rows with the native encodings of few bits, for instructions that sum pairs of products:
/// the codes of 16 steps of k stay in registers while all rows of a block go by, whose sums wait in
/// the first-level cache. Loads, sums and products then take about the same time: per 4 codes and
/// 4 numbers of a row, one broadcast serves a whole panel.
///
/// The rows' codes go by as codes + 128, so that the panel's may be signed: −128·Σ of a panel's row
/// is added once at the end, where an offset of the panel's codes would cost every row two more
/// instructions a block.
#pragma once

#include "kernels/generic/linear_common.h"
#include "kernels/generic/pack_turn.h"
#include "kernels/generic/rotated_dot.h"

namespace quern::kernels {
namespace {

template <class Isa>
class RotatedSweep {
 public:
  template <Encoding E>
  static void run(const LinearArgs& args, const PanelGeometry& g) {
    const std::int64_t block_rows = rotated_block_rows(args.k);
    const Scratch scratch(args.scratch, block_rows, round_up(args.k, 64));
    for (std::int64_t r0 = 0; r0 < args.rows; r0 += block_rows) {
      const std::int64_t left = args.rows - r0, count = left < block_rows ? left : block_rows;
      if (!args.same_rows || args.rows > block_rows) load_rows(args, r0, count, scratch);
      for (std::int64_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
        for (std::int64_t first = 0; first < count; first += kSumRows) {
          const std::int64_t rows = count - first < kSumRows ? count - first : kSumRows;
          multiply<RotatedCodes<Isa, E>>(args, g, panel,
                                         {scratch.rows + 32 * first, 32 * round_up(count, 8),
                                          scratch.scales + first, scratch.sums, r0 + first, rows});
        }
      }
    }
  }

 private:
  using C = typename Isa::C;
  using F = typename Isa::F;
  using I = typename Isa::I;
  static constexpr int kParts = Isa::kParts, kUnroll = 4;
  /// Their sums and codes leave room in a first-level cache that two threads share.
  static constexpr std::int64_t kSumRows = 128;

  /// Where a thread's scratch holds the rows of a block.
  struct Scratch {
    std::byte* rows;     ///< Codes + 128 `[K/32][count rounded up to 8][32]`.
    float* scales;       ///< `[block rows]`
    std::int32_t* sums;  ///< `[kSumRows][16]`, of one panel.

    Scratch(std::byte* at, std::int64_t block_rows, std::int64_t k)
        : rows(at),
          scales(reinterpret_cast<float*>(at + block_rows * k)),
          sums(reinterpret_cast<std::int32_t*>(scales + block_rows)) {}
  };

  static void load_rows(const LinearArgs& args, std::int64_t r0, std::int64_t count,
                        const Scratch& scratch) {
    const auto flip = Isa::V::Int::all(static_cast<std::int32_t>(0x80808080));
    const std::int64_t blocks = round_up(args.k, 64) / 32, stride = 32 * round_up(count, 8);
    for (std::int64_t r = 0; r < count;) {
      const std::int64_t w = subtile_width(args.rows - (r0 + r));
      const std::byte* x = args.x + (r0 + r) * rotated_row_bytes(args.k);
      std::byte* out = scratch.rows + 32 * r;
      for (std::int64_t b = 0; b < blocks; ++b, x += kRotatedRecord * w, out += stride) {
        if (w == 8) {
          PackTurn<Isa>::rows_of_record(x, flip, out);
        } else {
          rows_of_narrow_record(x, w, out);
        }
      }
      for (std::int64_t t = 0; t < w; ++t) scratch.scales[r + t] = peek<float>(x + 4 * t);
      r += w;
    }
  }

  static void rows_of_narrow_record(const std::byte* record, std::int64_t w, std::byte* out) {
    for (int kk = 0; kk < 8; ++kk) {
      for (std::int64_t t = 0; t < w; ++t) {
        const auto four = peek<std::uint32_t>(record + 4 * (w * kk + t)) ^ 0x80808080u;
        std::memcpy(out + 32 * t + 4 * kk, &four, sizeof four);
      }
    }
  }

  /// The signed codes of one half of a block and their sub-scales.
  struct Half {
    C code[kParts][4];
    I scales[kParts];
  };

  template <class Codes, int h>
  static QUERN_INLINE Half half_of(const Codes (&part)[kParts], std::int64_t b) {
    Half half;
    each<kParts>([&](auto p) QUERN_INLINE_LAMBDA {
      each<4>([&](auto kk) QUERN_INLINE_LAMBDA {
        half.code[p][kk] =
            Isa::template minus<Codes::kOffset>(part[p].template code<4 * h + kk.value>(b));
      });
      half.scales[p] = part[p].template sub_pairs<h>(b);
    });
    return half;
  }

  /// sum[p] = sub-scale·Σ code·x of 16 numbers x, given four at a time by fours(kk).
  template <int kFlush, class Fours>
  static QUERN_INLINE void products(const Half& half, Fours fours, I (&sum)[kParts]) {
    I pairs[kParts];
    each<kParts>([&](auto p) QUERN_INLINE_LAMBDA { sum[p] = Isa::zero_ints(); });
    each<4>([&](auto kk) QUERN_INLINE_LAMBDA {
      const C four = fours(kk);
      each<kParts>([&](auto p) QUERN_INLINE_LAMBDA {
        const I two = Isa::pair_products(four, half.code[p][kk]);
        pairs[p] = kk.value % kFlush == 0 ? two : Isa::add_pairs(pairs[p], two);
        if constexpr (kk.value % kFlush == kFlush - 1 || kk.value == 3) {
          sum[p] = Isa::add_scaled(sum[p], pairs[p], half.scales[p]);
        }
      });
    });
  }

  /// Adds the products of one half to the sums of all rows.
  template <int kFlush>
  static void pass(const Half& registers, const std::byte* x, std::int64_t count,
                   std::int32_t* sums) {
    const Half half = registers;  // What lies elsewhere could be among the sums.
    const auto row = [&](const std::byte* from, std::int32_t* to) QUERN_INLINE_LAMBDA {
      I sum[kParts];
      products<kFlush>(
          half, [&](auto kk) QUERN_INLINE_LAMBDA { return Isa::broadcast_codes(from + 4 * kk); },
          sum);
      each<kParts>([&](auto p) QUERN_INLINE_LAMBDA {
        std::int32_t* own = to + Isa::kRows * p;
        Isa::store_ints(own, Isa::add_ints(Isa::load_ints(own), sum[p]));
      });
    };
    std::int64_t t = 0;
    for (; t + kUnroll <= count; t += kUnroll, x += 32 * kUnroll, sums += kPanelRows * kUnroll) {
      each<kUnroll>([&](auto u) QUERN_INLINE_LAMBDA { row(x + 32 * u, sums + kPanelRows * u); });
    }
    for (; t < count; ++t, x += 32, sums += kPanelRows) row(x, sums);
  }

  /// Rows whose sums are kept at once.
  struct Rows {
    const std::byte* codes;  ///< Of the first block of k.
    std::int64_t stride;     ///< Bytes from a block of k to the next.
    const float* scales;
    std::int32_t* sums;  ///< `[count][16]`
    std::int64_t first, count;
  };

  template <class Codes>
  static void multiply(const LinearArgs& args, const PanelGeometry& g, std::int64_t panel,
                       const Rows& rows) {
    static_assert(Codes::kMax - Codes::kOffset <= Codes::kOffset);
    constexpr int kFlush = pair_sums_of<Codes::kOffset, 255>();
    const std::byte* base = args.weights + panel * g.panel_bytes;
    const std::int64_t blocks = round_up(args.k, 64) / 32;
    const auto part = parts_of<Codes>(base, g, std::make_integer_sequence<int, kParts>{});
    NextPanel next;
    if (rows.first == 0) next.follow(args, panel + 1, 1, g, blocks);
    Results results(args, panel, rows, 2 * blocks);
    I code_sum[kParts];
    each<kParts>([&](auto p) QUERN_INLINE_LAMBDA { code_sum[p] = Isa::zero_ints(); });
    std::memset(rows.sums, 0, static_cast<std::size_t>(rows.count) * 4 * kPanelRows);
    for (std::int64_t b = 0; b < blocks; ++b) {
      next.fetch();
      each<2>([&](auto h) QUERN_INLINE_LAMBDA {
        const Half half = half_of<Codes, h.value>(part.codes, b);
        I sum[kParts];
        products<kFlush>(
            half, [](auto) QUERN_INLINE_LAMBDA { return Isa::ones(); }, sum);
        each<kParts>([&](auto p)
                         QUERN_INLINE_LAMBDA { code_sum[p] = Isa::add_ints(code_sum[p], sum[p]); });
        results.fetch();
        pass<kFlush>(half, rows.codes + rows.stride * b + 16 * h, rows.count, rows.sums);
      });
    }
    finish(args, base + g.stream[Codes::kScaleStream], panel * kPanelRows, rows, code_sum);
  }

  /// Results lie far apart: a line of each is asked for in good time, some with every pass.
  struct Results {
    const float* at;
    std::int64_t stride, left, at_once;

    Results(const LinearArgs& args, std::int64_t panel, const Rows& rows, std::int64_t passes)
        : at(args.y + rows.first * args.y_stride + panel * kPanelRows),
          stride(args.y_stride),
          left(rows.count),
          at_once((rows.count + passes - 1) / passes) {}
    QUERN_INLINE void fetch() {
      for (std::int64_t i = 0; i < at_once && left > 0; ++i, --left, at += stride)
        __builtin_prefetch(at, 1, 3);
    }
  };

  /// Results of a panel whose first output row is n0.
  static void finish(const LinearArgs& shared, const std::byte* panel_scales, std::int64_t n0,
                     const Rows& rows, const I (&code_sum)[kParts]) {
    const LinearArgs args = shared;  // What lies elsewhere could be among the results.
    F dw[kParts];
    I start[kParts];
    each<kParts>([&](auto p) QUERN_INLINE_LAMBDA {
      dw[p] = Isa::load(reinterpret_cast<const float*>(panel_scales + 4 * Isa::kRows * p));
      start[p] = Isa::wide_start_of(code_sum[p]);
    });
    const std::int64_t first = rows.first, count = rows.count;
    const std::int32_t* sums = rows.sums;
    const float* scales = rows.scales;
    for (std::int64_t t = 0; t < count; ++t, sums += kPanelRows, ++scales) {
      const F scale = Isa::broadcast(reinterpret_cast<const std::byte*>(scales));
      each<kParts>([&](auto p) QUERN_INLINE_LAMBDA {
        const I sum = Isa::add_ints(Isa::load_ints(sums + Isa::kRows * p), start[p]);
        store_result<Isa>(args, n0 + Isa::kRows * p, first + t,
                          Isa::mul(Isa::to_float(sum), Isa::mul(dw[p], scale)));
      });
    }
  }

  template <class Codes>
  struct Parts {
    Codes codes[kParts];
  };
  template <class Codes, int... p>
  static QUERN_INLINE Parts<Codes> parts_of(const std::byte* base, const PanelGeometry& g,
                                            std::integer_sequence<int, p...>) {
    return {{Codes(base, g, p)...}};
  }
};

}  // namespace
}  // namespace quern::kernels
