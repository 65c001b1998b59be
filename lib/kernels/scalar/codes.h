/// \file
/// What 32 elements of one row of a panel mean, as whole numbers and scales: one description per
/// encoding of the family kQ8Group32. Written for reading; layouts as in FORMAT.md, "Encodings".
#pragma once

#include <bit>

#include "kernels/install.h"
#include "kernels/scalar/parts.h"
#include "quant/registry.h"

namespace quern::kernels {

/// 32 elements: w = dw·code + mw, per half of 16.
struct Block32 {
  int code[32];
  float dw[2], mw[2];
};

/// A panel's streams and one row in it.
struct PanelRow {
  const std::byte* stream[4];
  std::int64_t row;

  PanelRow(Encoding encoding, const std::byte* weights, std::int64_t panel, std::int64_t r,
           std::int64_t k)
      : row(r) {
    const PanelGeometry geometry = panel_geometry(encoding, k);
    for (int i = 0; i < 4; ++i) {
      stream[i] = weights + panel * geometry.panel_bytes + geometry.stream[i];
    }
  }

  int byte(int s, std::int64_t at) const { return std::to_integer<int>(stream[s][at]); }
  int signed_byte(int s, std::int64_t at) const { return static_cast<std::int8_t>(byte(s, at)); }
  /// float16 number `which` (0 or 1) of cell `cell` with `per_cell` vectors of 16.
  float half(int s, std::int64_t cell, int per_cell = 1, int which = 0) const {
    return quant::f16_to_f32(
        load<std::uint16_t>(stream[s] + (cell * per_cell + which) * 32 + 2 * row));
  }

  // Codes of block b, k = 0 … 31.
  int nibble(int s, std::int64_t b, int k) const {
    const int both = byte(s, 256 * b + 64 * (k % 16 / 4) + 4 * row + k % 4);
    return k < 16 ? both & 15 : both >> 4;
  }
  int whole(int s, std::int64_t b, int k) const {
    return byte(s, 512 * b + 64 * (k / 4) + 4 * row + k % 4);
  }
  int bit(int s, std::int64_t b, int k) const {
    const auto mask = load<std::uint64_t>(stream[s] + 64 * b + 8 * (k / 4));
    return static_cast<int>((mask >> (4 * row + k % 4)) & 1u);
  }
  int crumb(int s, std::int64_t b, int k) const {
    return (byte(s, 128 * b + 64 * (k / 16) + 4 * row + k % 4) >> (2 * (k % 16 / 4))) & 3;
  }
};

template <class Code>
void fill_codes(Block32& block, Code code) {
  for (int k = 0; k < 32; ++k) block.code[k] = code(k);
}
inline void fill_scales(Block32& block, float dw, float mw = 0.0f) {
  block.dw[0] = block.dw[1] = dw;
  block.mw[0] = block.mw[1] = mw;
}

/// Per encoding: kHalves (scales per 32 elements), kMin, and read(panel row, block index).
template <Encoding>
struct Codes;

template <>
struct Codes<Encoding::kQ4_0> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = false;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.nibble(0, b, k) - 8; });
    fill_scales(out, p.half(1, b));
  }
};

template <>
struct Codes<Encoding::kQ4_1> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = true;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.nibble(0, b, k); });
    fill_scales(out, p.half(1, b), p.half(2, b));
  }
};

template <>
struct Codes<Encoding::kQ5_0> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = false;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.nibble(0, b, k) + 16 * p.bit(1, b, k) - 16; });
    fill_scales(out, p.half(2, b));
  }
};

template <>
struct Codes<Encoding::kQ5_1> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = true;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.nibble(0, b, k) + 16 * p.bit(1, b, k); });
    fill_scales(out, p.half(2, b), p.half(3, b));
  }
};

template <>
struct Codes<Encoding::kQ8_0> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = false;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.whole(0, b, k) - 128; });
    fill_scales(out, p.half(1, b));
  }
};

template <>
struct Codes<Encoding::kIQ4_NL> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = false;
  static constexpr int kBook[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                    1,    13,   25,  38,  53,  69,  89,  113};
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return kBook[p.nibble(0, b, k)]; });
    fill_scales(out, p.half(1, b));
  }
};

template <>
struct Codes<Encoding::kIQ4_XS> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = false;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return Codes<Encoding::kIQ4_NL>::kBook[p.nibble(0, b, k)]; });
    fill_scales(out, p.half(2, b / 8) * static_cast<float>(p.signed_byte(1, 16 * b + p.row)));
  }
};

template <>
struct Codes<Encoding::kMXFP4> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = false;
  /// Twice the value of each E2M1 number, so that the scale is 2^(e−128).
  static constexpr int kBook[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  static float scale(int e) {
    if (e == 255) return std::bit_cast<float>(0x7fc00000u);
    if (e < 2) return std::bit_cast<float>(0x00200000u << e);  // Denormal.
    return std::bit_cast<float>(static_cast<std::uint32_t>(e - 1) << 23);
  }
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return kBook[p.nibble(0, b, k)]; });
    fill_scales(out, scale(p.byte(1, 16 * b + p.row)));
  }
};

template <>
struct Codes<Encoding::kQ4_K> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = true;
  /// Scale and negated minimum of Q4_K and Q5_K.
  static void scales(const PanelRow& p, int s, std::int64_t b, Block32& out) {
    const float sub = static_cast<float>(p.byte(s, 32 * b + p.row));
    const float min = static_cast<float>(p.byte(s, 32 * b + 16 + p.row));
    fill_scales(out, p.half(s + 1, b / 8, 2, 0) * sub, -(p.half(s + 1, b / 8, 2, 1) * min));
  }
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.nibble(0, b, k); });
    scales(p, 1, b, out);
  }
};

template <>
struct Codes<Encoding::kQ5_K> {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = true;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.nibble(0, b, k) + 16 * p.bit(1, b, k); });
    Codes<Encoding::kQ4_K>::scales(p, 2, b, out);
  }
};

/// Two signed sub-scales per 32 elements under one float16.
inline void fill_half_scales(const PanelRow& p, int s, std::int64_t b, Block32& out) {
  for (int h = 0; h < 2; ++h) {
    out.dw[h] =
        p.half(s + 1, b / 8) * static_cast<float>(p.signed_byte(s, 32 * b + 16 * h + p.row));
    out.mw[h] = 0.0f;
  }
}

template <>
struct Codes<Encoding::kQ6_K> {
  static constexpr int kHalves = 2;
  static constexpr bool kMin = false;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.nibble(0, b, k) + 16 * p.crumb(1, b, k) - 32; });
    fill_half_scales(p, 2, b, out);
  }
};

template <>
struct Codes<Encoding::kQ3_K> {
  static constexpr int kHalves = 2;
  static constexpr bool kMin = false;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.crumb(0, b, k) + 4 * p.bit(1, b, k) - 4; });
    fill_half_scales(p, 2, b, out);
  }
};

template <>
struct Codes<Encoding::kQ2_K> {
  static constexpr int kHalves = 2;
  static constexpr bool kMin = true;
  static void read(const PanelRow& p, std::int64_t b, Block32& out) {
    fill_codes(out, [&](int k) { return p.crumb(0, b, k); });
    for (int h = 0; h < 2; ++h) {
      const int both = p.byte(1, 32 * b + 16 * h + p.row);
      out.dw[h] = p.half(2, b / 8, 2, 0) * static_cast<float>(both & 15);
      out.mw[h] = -(p.half(2, b / 8, 2, 1) * static_cast<float>(both >> 4));
    }
  }
};

}  // namespace quern::kernels
