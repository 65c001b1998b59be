/// \file
/// Packing of activation rows over Vec16 (formats: packed_rows.h; arithmetic: kernel_table.h,
/// PackArgs).
///
/// `Isa` adds swap<distance>(V), store_low8(p, V::Int), largest(V::Int), sum_of_bytes(p) and
/// sums_of_fours(V::Int).
#pragma once

#include "kernels/generic/math.h"
#include "kernels/generic/pack_turn.h"
#include "kernels/generic/vec16.h"
#include "kernels/install.h"
#include "kernels/packed_rows.h"

namespace quern::kernels {
namespace {

/// The factor of codes and the scale of 16·n numbers: see scalar/parts.h, code_scale().
struct CodeFactor {
  float factor, scale;
};

/// `most` is the largest magnitude as bits: ordered as integers, NaN above all.
QUERN_INLINE CodeFactor code_factor(std::int32_t most, float limit) {
  if (most >= 0x7f800000) return {0.0f, std::numeric_limits<float>::quiet_NaN()};
  float amax;
  std::memcpy(&amax, &most, sizeof amax);
  const float factor = limit / amax;
  const bool usable = factor <= std::numeric_limits<float>::max();
  return {usable ? factor : 0.0f, amax / limit};
}

template <class V>
QUERN_INLINE typename V::Int magnitude_bits(const V& x) {
  return bits(x) & V::Int::all(0x7fffffff);
}

/// rint(x·factor) in the low bytes; 0 where the factor is 0, whatever x is.
template <class V>
QUERN_INLINE typename V::Int codes_of(const V& x, float factor) {
  if (factor == 0.0f) return V::Int::all(0);
  return bits(x * V::all(factor) + V::all(12582912.0f));  // Its own low byte is 0.
}

template <class Isa>
struct Pack {
  using V = typename Isa::V;
  using Int = typename V::Int;
  using Turn = PackTurn<Isa>;

  /// Calls tile(first row) for the row tiles of eight rows, and row(r, first row, width, place) for
  /// the rows of what is left.
  template <class Tile, class Row>
  static QUERN_INLINE void for_rows(const PackArgs& args, Tile tile, Row row) {
    const std::int64_t last = args.tile_end * kRowTile;
    const std::int64_t end = args.rows < last ? args.rows : last;
    std::int64_t r0 = args.tile_begin * kRowTile;
    for (; r0 + kRowTile <= end; r0 += kRowTile) tile(r0);
    while (r0 < end) {
      const std::int64_t w = subtile_width(end - r0);
      for (std::int64_t t = 0; t < w; ++t) row(r0 + t, r0, w, t);
      r0 += w;
    }
  }

  /// Lanes k … k+15 of a row, zeros beyond `cols`.
  static QUERN_INLINE V padded(const float* x, std::int64_t k, std::int64_t cols) {
    if (k + 16 <= cols) return V::load(x + k);
    return k < cols ? V::load_first(x + k, cols - k) : V::all(0.0f);
  }

  static void f32(const PackArgs& args) {
    for_rows(
        args,
        [&](std::int64_t r0) QUERN_INLINE_LAMBDA {
          const float* x = args.x + r0 * args.x_stride;
          auto* out = reinterpret_cast<float*>(args.out + r0 * f32_row_bytes(args.cols));
          std::int64_t k = 0;
          for (; k + 16 <= args.cols; k += 16) Turn::floats(x + k, args.x_stride, out + 8 * k);
          for (; k < args.cols; ++k) {
            for (std::int64_t t = 0; t < 8; ++t) out[8 * k + t] = x[t * args.x_stride + k];
          }
        },
        [&](std::int64_t r, std::int64_t r0, std::int64_t w, std::int64_t t) QUERN_INLINE_LAMBDA {
          const float* x = args.x + r * args.x_stride;
          auto* out = reinterpret_cast<float*>(args.out + r0 * f32_row_bytes(args.cols)) + t;
          for (std::int64_t k = 0; k < args.cols; ++k) out[k * w] = x[k];
        });
  }

  /// Writes the codes of 32 numbers; `sum`: per 16.
  static QUERN_INLINE void put_codes(std::byte* record, std::int64_t w, std::int64_t t,
                                     const V (&x)[2], float factor, std::int32_t (&sum)[2]) {
    alignas(16) std::byte bytes[32];
    each<2>([&](auto h) QUERN_INLINE_LAMBDA {
      Isa::store_low8(bytes + 16 * h, codes_of(x[h], factor));
      sum[h] = Isa::sum_of_bytes(bytes + 16 * h);
    });
    each<8>([&](auto kk) QUERN_INLINE_LAMBDA {
      std::memcpy(record + 4 * w * kk + 4 * t, bytes + 4 * kk, 4);
    });
  }

  template <class T>
  static QUERN_INLINE void put(std::byte* to, T x) {
    std::memcpy(to, &x, sizeof x);
  }

  /// One row, its place in a subtile of `w` rows t.
  static QUERN_INLINE void group_row(const PackArgs& args, std::int64_t r, std::int64_t r0,
                                     std::int64_t w, std::int64_t t) {
    const float* x = args.x + r * args.x_stride;
    std::byte* record = args.out + r0 * group_row_bytes(args.cols);
    for (std::int64_t k = 0; k < args.cols; k += 32, record += kGroupRecord * w) {
      const V v[2] = {padded(x, k, args.cols), padded(x, k + 16, args.cols)};
      const CodeFactor rule = group_rule(v);
      std::int32_t sum[2];
      put_codes(record, w, t, v, rule.factor, sum);
      put(record + kGroupScale * w + 4 * t, rule.scale);
      put(record + kGroupStart * w + 4 * t, -128 * (sum[0] + sum[1]));
      put(record + kGroupSum * w + 4 * t, rule.scale * static_cast<float>(sum[0] + sum[1]));
      each<2>([&](auto h) QUERN_INLINE_LAMBDA {
        put(record + (kGroupHalfStarts + 4 * h) * w + 4 * t, -128 * sum[h]);
        put(record + (kGroupHalfSums + 4 * h) * w + 4 * t, rule.scale * static_cast<float>(sum[h]));
      });
    }
  }
  static QUERN_INLINE CodeFactor group_rule(const V (&v)[2]) {
    return code_factor(Isa::largest(larger(magnitude_bits(v[0]), magnitude_bits(v[1]))), 127.0f);
  }

  /// Eight rows: every row puts its codes and scales into the records, then the records are turned.
  static QUERN_INLINE void group_tile(const PackArgs& args, std::int64_t r0) {
    std::byte* records = args.out + r0 * group_row_bytes(args.cols);
    for (std::int64_t t = 0; t < 8; ++t) {
      const float* x = args.x + (r0 + t) * args.x_stride;
      std::byte* record = records;
      for (std::int64_t k = 0; k < args.cols; k += 32, record += 8 * kGroupRecord) {
        const V v[2] = {padded(x, k, args.cols), padded(x, k + 16, args.cols)};
        const CodeFactor rule = group_rule(v);
        each<2>([&](auto h) QUERN_INLINE_LAMBDA {
          Isa::store_low8(record + Turn::group_place(t) + 16 * h, codes_of(v[h], rule.factor));
        });
        put(record + 8 * kGroupScale + 4 * t, rule.scale);
      }
    }
    for (std::int64_t k = 0; k < args.cols; k += 32, records += 8 * kGroupRecord)
      Turn::group_record(records);
  }

  static void group(const PackArgs& args) {
    for_rows(
        args, [&](std::int64_t r0) QUERN_INLINE_LAMBDA { group_tile(args, r0); },
        [&](std::int64_t r, std::int64_t r0, std::int64_t w, std::int64_t t)
            QUERN_INLINE_LAMBDA { group_row(args, r, r0, w, t); });
  }

  /// Signs of the butterfly stages within 16 lanes, distances 1, 2, 4, 8: a lane without the bit of
  /// the distance gets other + own, one with it other − own.
  struct Signs {
    V v[4];

    Signs() {
      for (int stage = 0; stage < 4; ++stage) {
        float lanes[16];
        for (int i = 0; i < 16; ++i) lanes[i] = (i >> stage & 1) != 0 ? -1.0f : 1.0f;
        v[stage] = V::load(lanes);
      }
    }
  };

  /// The product with ±1 is exact, so the one rounding is that of the sum.
  static QUERN_INLINE V within_lanes(V x, const Signs& signs) {
    x = fma(x, signs.v[0], Isa::template swap<1>(x));
    x = fma(x, signs.v[1], Isa::template swap<2>(x));
    x = fma(x, signs.v[2], Isa::template swap<4>(x));
    return fma(x, signs.v[3], Isa::template swap<8>(x));
  }

  /// quant::hadamard64 of one block, the same stages in the same order.
  static QUERN_INLINE void rotate(V (&x)[4], const Signs& signs) {
    each<4>([&](auto i) QUERN_INLINE_LAMBDA { x[i] = within_lanes(x[i], signs); });
    const V a = x[0] + x[1], b = x[0] - x[1], c = x[2] + x[3], d = x[2] - x[3];
    const V eighth = V::all(0.125f);
    x[0] = (a + c) * eighth;
    x[1] = (b + d) * eighth;
    x[2] = (a - c) * eighth;
    x[3] = (b - d) * eighth;
  }

  /// The rest of a vector: `vectors` whole ones of 16, fewer than four.
  static QUERN_INLINE void rotate_rest(V (&x)[4], std::int64_t vectors, const Signs& signs) {
    if (vectors >= 2) {
      const V a = within_lanes(x[0], signs), b = within_lanes(x[1], signs);
      const V factor = V::all(0.17677670f);
      x[0] = (a + b) * factor;
      x[1] = (a - b) * factor;
    }
    if (vectors == 1) x[0] = within_lanes(x[0], signs) * V::all(0.25f);
    if (vectors == 3) x[2] = within_lanes(x[2], signs) * V::all(0.25f);
  }

  /// quant::hadamard_vector of x into `out`, zeros up to a multiple of 16.
  static void rotated_vector(const float* x, std::int64_t n, float* out) {
    const Signs signs;
    for (std::int64_t d = 0; d < n; d += 64) {
      V v[4];
      each<4>([&](auto i) QUERN_INLINE_LAMBDA { v[i] = padded(x, d + 16 * i, n); });
      if (d + 64 <= n) {
        rotate(v, signs);
      } else {
        rotate_rest(v, (n - d) / 16, signs);
      }
      each<4>([&](auto i) QUERN_INLINE_LAMBDA {
        if (d + 16 * i < n) v[i].store(out + d + 16 * i);
      });
    }
  }

  /// Elements of a rotated row that are kept from finding the scale to making the codes; what is
  /// beyond is rotated twice.
  static constexpr std::int64_t kKept = 4096;

  /// Stores a rotated block; the larger of `top` and its magnitudes by lane.
  static QUERN_INLINE Int store_rotated(const float* x, std::int64_t k, std::int64_t cols,
                                        const Signs& signs, Int top, float* out) {
    V v[4];
    each<4>([&](auto i) QUERN_INLINE_LAMBDA { v[i] = padded(x, k + 16 * i, cols); });
    rotate(v, signs);
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {
      top = larger(top, magnitude_bits(v[i]));
      v[i].store(out + 16 * i);
    });
    return top;
  }

  /// Rotates row r, keeps what there is room for, and calls block(k, kept numbers k … k + 63) for
  /// all of it. \return its scale and the factor that block() is given too.
  template <class Block>
  static QUERN_INLINE CodeFactor rotate_row(const PackArgs& args, std::int64_t r,
                                            const Signs& signs, Block block) {
    alignas(64) float kept[kKept + 64];
    const float* x = args.x + r * args.x_stride;
    Int top = Int::all(0);
    for (std::int64_t k = 0; k < args.cols; k += 64) {
      top = store_rotated(x, k, args.cols, signs, top, kept + (k < kKept ? k : kKept));
    }
    const CodeFactor rule = code_factor(Isa::largest(top), 127.0f);
    for (std::int64_t k = 0; k < args.cols; k += 64) {
      if (k >= kKept) store_rotated(x, k, args.cols, signs, top, kept + kKept);
      block(kept + (k < kKept ? k : kKept), rule.factor);
    }
    return rule;
  }

  static QUERN_INLINE void rotated_row(const PackArgs& args, std::int64_t r, std::int64_t r0,
                                       std::int64_t w, std::int64_t t, const Signs& signs) {
    std::byte* record = args.out + r0 * rotated_row_bytes(args.cols);
    std::int32_t total = 0;
    const CodeFactor rule =
        rotate_row(args, r, signs, [&](const float* block, float factor) QUERN_INLINE_LAMBDA {
          each<2>([&](auto half) QUERN_INLINE_LAMBDA {
            const V pair[2] = {V::load(block + 32 * half), V::load(block + 32 * half + 16)};
            std::int32_t sum[2];
            put_codes(record, w, t, pair, factor, sum);
            each<2>([&](auto h) QUERN_INLINE_LAMBDA {
              put(record + 32 * w + 4 * t + 2 * h, static_cast<std::int16_t>(sum[h]));
            });
            total += sum[0] + sum[1];
            record += kRotatedRecord * w;
          });
        });
    put(record + 4 * t, rule.scale);
    put(record + 4 * w + 4 * t, total);
  }

  /// Eight rows: every row puts its codes into the records, then the records are turned, two at
  /// once.
  static QUERN_INLINE void rotated_tile(const PackArgs& args, std::int64_t r0, const Signs& signs) {
    std::byte* records = args.out + r0 * rotated_row_bytes(args.cols);
    const std::int64_t blocks = round_up(args.cols, 64) / 64;
    std::byte* trailer = records + blocks * 16 * kRotatedRecord;
    for (std::int64_t t = 0; t < 8; ++t) {
      std::byte* to = records + 64 * t;
      const CodeFactor rule = rotate_row(
          args, r0 + t, signs, [&](const float* block, float factor) QUERN_INLINE_LAMBDA {
            each<4>([&](auto i) QUERN_INLINE_LAMBDA {
              Isa::store_low8(to + 16 * i, codes_of(V::load(block + 16 * i), factor));
            });
            to += 16 * kRotatedRecord;
          });
      put(trailer + 4 * t, rule.scale);
    }
    Int total = Int::all(0);
    for (std::int64_t i = 0; i < blocks; ++i)
      total = total + Turn::rotated_records(records + i * 16 * kRotatedRecord);
    Turn::store_first_half(total, trailer + 32);
  }

  static void rotated(const PackArgs& args) {
    const Signs signs;
    for_rows(
        args, [&](std::int64_t r0) QUERN_INLINE_LAMBDA { rotated_tile(args, r0, signs); },
        [&](std::int64_t r, std::int64_t r0, std::int64_t w, std::int64_t t)
            QUERN_INLINE_LAMBDA { rotated_row(args, r, r0, w, t, signs); });
  }

  static void install(KernelTable& table) {
    set_pack_rows(table, RowFormat::kF32, f32);
    set_pack_rows(table, RowFormat::kQ8Group32, group);
    set_pack_rows(table, RowFormat::kQ8Rotated, rotated);
  }
};

}  // namespace
}  // namespace quern::kernels
