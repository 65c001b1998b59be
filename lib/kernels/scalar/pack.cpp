// Packing of activation rows by the oracle.
#include <cmath>
#include <limits>

#include "kernels/install.h"
#include "kernels/packed_rows.h"
#include "kernels/scalar/parts.h"
#include "quant/registry.h"

namespace quern::kernels {

CodeScale code_scale(const float* x, std::int64_t n, float limit) {
  float top = 0.0f;
  for (std::int64_t i = 0; i < n; ++i) {
    const float a = std::fabs(x[i]);
    if (!(a <= std::numeric_limits<float>::max())) {
      return {0.0f, std::numeric_limits<float>::quiet_NaN()};
    }
    if (top < a) top = a;
  }
  const float factor = limit / top;
  const bool usable = factor <= std::numeric_limits<float>::max();
  return {usable ? factor : 0.0f, top / limit};
}

int code_of(float x, float factor) {
  return factor == 0.0f ? 0 : static_cast<int>(std::nearbyint(x * factor));
}

namespace {

/// Calls `row(r, first, w, t)` for every row of the tiles: its number, its subtile's first row and
/// width, and its place in it.
template <class Row>
void for_rows(const PackArgs& args, Row row) {
  const std::int64_t end =
      args.rows < args.tile_end * kRowTile ? args.rows : args.tile_end * kRowTile;
  for (std::int64_t r0 = args.tile_begin * kRowTile; r0 < end;) {
    const std::int64_t w = subtile_width(end - r0);
    for (std::int64_t t = 0; t < w; ++t) row(r0 + t, r0, w, t);
    r0 += w;
  }
}

/// Element k of a row that ends after `cols`, padded with zeros.
float padded(const float* x, std::int64_t k, std::int64_t cols) { return k < cols ? x[k] : 0.0f; }

void pack_f32(const PackArgs& args) {
  for_rows(args, [&](std::int64_t r, std::int64_t r0, std::int64_t w, std::int64_t t) {
    std::byte* out = args.out + r0 * f32_row_bytes(args.cols);
    for (std::int64_t k = 0; k < args.cols; ++k) {
      store(out + 4 * (k * w + t), args.x[r * args.x_stride + k]);
    }
  });
}

/// Writes the codes of 32 elements.
void put_codes(std::byte* record, std::int64_t w, std::int64_t t, const float* x, float factor,
               int sum[2]) {
  sum[0] = sum[1] = 0;
  for (int k = 0; k < 32; ++k) {
    const int code = code_of(x[k], factor);
    sum[k / 16] += code;
    record[(k / 4) * 4 * w + 4 * t + k % 4] = static_cast<std::byte>(code & 255);
  }
}

void pack_group(const PackArgs& args) {
  for_rows(args, [&](std::int64_t r, std::int64_t r0, std::int64_t w, std::int64_t t) {
    std::byte* record = args.out + r0 * group_row_bytes(args.cols);
    for (std::int64_t k0 = 0; k0 < args.cols; k0 += 32, record += kGroupRecord * w) {
      float x[32];
      for (int k = 0; k < 32; ++k) x[k] = padded(args.x + r * args.x_stride, k0 + k, args.cols);
      const CodeScale rule = code_scale(x, 32, 127.0f);
      int sum[2];
      put_codes(record, w, t, x, rule.factor, sum);
      store(record + kGroupScale * w + 4 * t, rule.scale);
      store(record + kGroupStart * w + 4 * t, -128 * (sum[0] + sum[1]));
      store(record + kGroupSum * w + 4 * t, rule.scale * static_cast<float>(sum[0] + sum[1]));
      for (int h = 0; h < 2; ++h) {
        const std::int64_t at = 4 * h * w + 4 * t;
        store(record + kGroupHalfStarts * w + at, -128 * sum[h]);
        store(record + kGroupHalfSums * w + at, rule.scale * static_cast<float>(sum[h]));
      }
    }
  });
}

/// The rotated element block [k0, k0 + 64) of a row.
void rotated_block(const float* x, std::int64_t k0, std::int64_t cols, float out[64]) {
  for (int k = 0; k < 64; ++k) out[k] = padded(x, k0 + k, cols);
  quant::hadamard64(out, 64);
}

/// The scale of the whole rotated row, as code_scale().
CodeScale row_scale(const float* x, std::int64_t cols) {
  float top = 0.0f;
  for (std::int64_t k0 = 0; k0 < cols; k0 += 64) {
    float block[64];
    rotated_block(x, k0, cols, block);
    for (const float v : block) {
      const float a = std::fabs(v);
      if (!(a <= std::numeric_limits<float>::max())) return code_scale(&a, 1, 127.0f);
      if (top < a) top = a;
    }
  }
  return code_scale(&top, 1, 127.0f);
}

void pack_rotated(const PackArgs& args) {
  for_rows(args, [&](std::int64_t r, std::int64_t r0, std::int64_t w, std::int64_t t) {
    const float* x = args.x + r * args.x_stride;
    std::byte* record = args.out + r0 * rotated_row_bytes(args.cols);
    const CodeScale rule = row_scale(x, args.cols);
    int total = 0;
    for (std::int64_t k0 = 0; k0 < args.cols; k0 += 64) {
      float block[64];
      rotated_block(x, k0, args.cols, block);
      for (int half = 0; half < 2; ++half, record += kRotatedRecord * w) {
        int sum[2];
        put_codes(record, w, t, block + 32 * half, rule.factor, sum);
        store(record + 32 * w + 4 * t, static_cast<std::int16_t>(sum[0]));
        store(record + 32 * w + 4 * t + 2, static_cast<std::int16_t>(sum[1]));
        total += sum[0] + sum[1];
      }
    }
    store(record + 4 * t, rule.scale);
    store(record + 4 * w + 4 * t, total);
  });
}

}  // namespace

void install_scalar_pack(KernelTable& table) {
  set_pack_rows(table, RowFormat::kF32, pack_f32);
  set_pack_rows(table, RowFormat::kQ8Group32, pack_group);
  set_pack_rows(table, RowFormat::kQ8Rotated, pack_rotated);
}

}  // namespace quern::kernels
