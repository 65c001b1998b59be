// Matrix products and row lookups of the oracle, one element at a time.
#include <cmath>

#include "kernels/install.h"
#include "kernels/packed_rows.h"
#include "kernels/scalar/codes.h"

namespace quern::kernels {
namespace {

/// Where a packed row lies: its subtile, the subtile's width, its place in it.
struct PackedRow {
  const std::byte* tile;
  std::int64_t w, t;
};
PackedRow find_row(const std::byte* x, std::int64_t row_bytes, std::int64_t rows, std::int64_t r) {
  std::int64_t r0 = 0;
  for (;;) {
    const std::int64_t w = subtile_width(rows - r0);
    if (r < r0 + w) return {x + r0 * row_bytes, w, r - r0};
    r0 += w;
  }
}

/// Calls product(panel, row in the panel, packed row) for every element and stores what it returns.
template <class Product>
void for_elements(const LinearArgs& args, std::int64_t row_bytes, Product product) {
  for (std::int64_t t = 0; t < args.rows; ++t) {
    const PackedRow x = find_row(args.x, row_bytes, args.rows, t);
    for (std::int64_t n = args.panel_begin * kPanelRows;
         n < args.panel_end * kPanelRows && n < args.n; ++n) {
      float r = product(n / kPanelRows, n % kPanelRows, x);
      if (args.bias != nullptr) r += args.bias[n];
      float& y = args.y[t * args.y_stride + n];
      y = args.accumulate ? y + r : r;
    }
  }
}

template <Encoding E>
float float_weight(const std::byte* weights, std::int64_t panel_bytes, std::int64_t panel,
                   std::int64_t row, std::int64_t k) {
  const std::byte* p = weights + panel * panel_bytes;
  const std::int64_t at = k * kPanelRows + row;
  if constexpr (E == Encoding::kF32) return load<float>(p + 4 * at);
  const auto word = load<std::uint16_t>(p + 2 * at);
  return E == Encoding::kF16 ? quant::f16_to_f32(word) : quant::bf16_to_f32(word);
}

template <Encoding E>
void linear_float(const LinearArgs& args) {
  const std::int64_t bytes = panel_geometry(E, args.k).panel_bytes;
  for_elements(args, f32_row_bytes(args.k), [&](std::int64_t panel, std::int64_t row, PackedRow x) {
    float acc = 0.0f;
    for (std::int64_t k = 0; k < args.k; ++k) {
      acc = std::fma(float_weight<E>(args.weights, bytes, panel, row, k),
                     load<float>(x.tile + 4 * (k * x.w + x.t)), acc);
    }
    return acc;
  });
}

template <Encoding E>
void gather_float(const std::byte* weights, std::int64_t row, std::int64_t cols, float* out) {
  const std::int64_t bytes = panel_geometry(E, cols).panel_bytes;
  for (std::int64_t k = 0; k < cols; ++k) {
    out[k] = float_weight<E>(weights, bytes, row / kPanelRows, row % kPanelRows, k);
  }
}

int activation_code(const std::byte* record, const PackedRow& x, int k) {
  return static_cast<std::int8_t>(record[(k / 4) * 4 * x.w + 4 * x.t + k % 4]);
}

/// One block of 32 in groups of 32 or 16, in the order that LinearArgs states.
template <Encoding E>
float add_block(const Block32& w, const std::byte* record, const PackedRow& x, float acc) {
  const auto dx = load<float>(record + kGroupScale * x.w + 4 * x.t);
  constexpr int kSize = 32 / Codes<E>::kHalves;
  for (int h = 0; h < Codes<E>::kHalves; ++h) {
    int isum = 0, codes = 0;
    for (int k = kSize * h; k < kSize * (h + 1); ++k) {
      isum += w.code[k] * activation_code(record, x, k);
      codes += activation_code(record, x, k);
    }
    acc = std::fma(static_cast<float>(isum), w.dw[h] * dx, acc);
    if (Codes<E>::kMin) acc = std::fma(w.mw[h], dx * static_cast<float>(codes), acc);
  }
  return acc;
}

template <Encoding E>
void linear_group(const LinearArgs& args) {
  for_elements(args, group_row_bytes(args.k),
               [&](std::int64_t panel, std::int64_t row, PackedRow x) {
                 const PanelRow p(E, args.weights, panel, row, args.k);
                 float acc = 0.0f;
                 for (std::int64_t b = 0; 32 * b < args.k; ++b) {
                   Block32 block;
                   Codes<E>::read(p, b, block);
                   acc = add_block<E>(block, x.tile + b * kGroupRecord * x.w, x, acc);
                 }
                 return acc;
               });
}

template <Encoding E>
void gather_group(const std::byte* weights, std::int64_t row, std::int64_t cols, float* out) {
  const PanelRow p(E, weights, row / kPanelRows, row % kPanelRows, cols);
  for (std::int64_t b = 0; 32 * b < cols; ++b) {
    Block32 block;
    Codes<E>::read(p, b, block);
    for (int k = 0; k < 32 && 32 * b + k < cols; ++k) {
      const float v = static_cast<float>(block.code[k]) * block.dw[k / 16];
      out[32 * b + k] = Codes<E>::kMin ? v + block.mw[k / 16] : v;
    }
  }
}

/// The whole-number weight of a rotated encoding: multiple times sub-scale.
template <Encoding E>
int rotated_weight(const PanelRow& p, std::int64_t b, int k) {
  if constexpr (E == Encoding::kQR8) return p.whole(0, b, k) - 128;
  const auto sub = [&](int stream) {
    const int both = p.byte(stream, 16 * b + p.row);
    return k < 16 ? both & 15 : both >> 4;
  };
  if constexpr (E == Encoding::kQR3) {
    return (2 * (p.crumb(0, b, k) + 4 * p.bit(1, b, k)) - 7) * sub(2);
  } else if constexpr (E == Encoding::kQR4) {
    return (p.nibble(0, b, k) - 8) * sub(1);
  } else if constexpr (E == Encoding::kQR5) {
    return (p.nibble(0, b, k) + 16 * p.bit(1, b, k) - 16) * ((sub(2) & 7) + 1);
  } else {
    static_assert(E == Encoding::kQR6 || E == Encoding::kQR8);
    return (p.nibble(0, b, k) + 16 * p.crumb(1, b, k) - 32) * ((sub(2) & 3) + 1);
  }
}

template <Encoding E>
float rotated_scale(const PanelRow& p) {
  constexpr int kStream = E == Encoding::kQR8 ? 1 : E == Encoding::kQR4 ? 2 : 3;
  return load<float>(p.stream[kStream] + 4 * p.row);
}

template <Encoding E>
void linear_rotated(const LinearArgs& args) {
  const std::int64_t blocks = round_up(args.k, 64) / 32;
  for_elements(
      args, rotated_row_bytes(args.k), [&](std::int64_t panel, std::int64_t row, PackedRow x) {
        const PanelRow p(E, args.weights, panel, row, args.k);
        std::int64_t isum = 0;
        for (std::int64_t b = 0; b < blocks; ++b) {
          const std::byte* record = x.tile + b * kRotatedRecord * x.w;
          for (int k = 0; k < 32; ++k) {
            isum += rotated_weight<E>(p, b, k) * activation_code(record, x, k);
          }
        }
        const auto dx = load<float>(x.tile + blocks * kRotatedRecord * x.w + 4 * x.t);
        return static_cast<float>(static_cast<std::int32_t>(isum)) * (rotated_scale<E>(p) * dx);
      });
}

template <Encoding E>
void gather_rotated(const std::byte* weights, std::int64_t row, std::int64_t cols, float* out) {
  const PanelRow p(E, weights, row / kPanelRows, row % kPanelRows, cols);
  for (std::int64_t k0 = 0; k0 < cols; k0 += 64) {
    float block[64];
    for (int k = 0; k < 64; ++k) {
      block[k] =
          static_cast<float>(rotated_weight<E>(p, k0 / 32 + k / 32, k % 32)) * rotated_scale<E>(p);
    }
    quant::hadamard64(block, 64);
    for (int k = 0; k < 64 && k0 + k < cols; ++k) out[k0 + k] = block[k];
  }
}

template <Encoding E>
void install_float(KernelTable& table) {
  set_linear(table, E, linear_float<E>);
  set_gather_row(table, E, gather_float<E>);
}
template <Encoding... E>
void install_groups(KernelTable& table) {
  (set_linear(table, E, linear_group<E>), ...);
  (set_gather_row(table, E, gather_group<E>), ...);
}
template <Encoding E>
void install_rotated(KernelTable& table) {
  set_linear(table, E, linear_rotated<E>);
  set_gather_row(table, E, gather_rotated<E>);
}

}  // namespace

void install_scalar_linear(KernelTable& table) {
  install_float<Encoding::kF32>(table);
  install_float<Encoding::kF16>(table);
  install_float<Encoding::kBF16>(table);
  install_groups<Encoding::kQ4_0, Encoding::kQ4_1, Encoding::kQ5_0, Encoding::kQ5_1,
                 Encoding::kQ8_0, Encoding::kQ2_K, Encoding::kQ3_K, Encoding::kQ4_K,
                 Encoding::kQ5_K, Encoding::kQ6_K, Encoding::kIQ4_NL, Encoding::kIQ4_XS,
                 Encoding::kMXFP4>(table);
  install_rotated<Encoding::kQR8>(table);
  install_rotated<Encoding::kQR4>(table);
  install_rotated<Encoding::kQR3>(table);
  install_rotated<Encoding::kQR5>(table);
  install_rotated<Encoding::kQR6>(table);
}

}  // namespace quern::kernels
