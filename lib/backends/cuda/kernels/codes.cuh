/// \file
/// What the panels of every encoding mean, four codes at a time (formats/FORMAT.md, "Encodings").
///
/// A panel keeps, for 16 rows side by side, four neighbours of k in one word: just what a tensor
/// core's fragment or a dot product of four bytes takes. So weights lie on the device as in the
/// file.
#pragma once

#include "backends/cuda/kernels/linear_args.h"
#include "backends/cuda/kernels/numbers.cuh"

namespace quern::backends::cuda {

/// A panel's streams. Places in it have 32 bits, which all panels of a thread share: a pointer for
/// each stream of each would take more registers than there are.
struct Panel {
  const unsigned char* begin;
  unsigned stream[4];

  QUERN_DEVICE_MEMBER Panel(const WeightArgs& w, long long panel)
      : begin(reinterpret_cast<const unsigned char*>(w.data) + panel * w.panel_bytes) {
    for (int i = 0; i < 4; ++i) stream[i] = static_cast<unsigned>(w.stream[i]);
  }
  QUERN_DEVICE_MEMBER unsigned word(int s, int at) const {
    return *reinterpret_cast<const unsigned*>(begin + (stream[s] + static_cast<unsigned>(at)));
  }
  QUERN_DEVICE_MEMBER unsigned byte(int s, int at) const {
    return begin[stream[s] + static_cast<unsigned>(at)];
  }
  QUERN_DEVICE_MEMBER float signed_byte(int s, int at) const {
    return static_cast<float>(static_cast<signed char>(byte(s, at)));
  }
  /// float16 number `which` of a row in cell `cell` with `per_cell` vectors of 16.
  QUERN_DEVICE_MEMBER float half(int s, int cell, int row, int per_cell = 1, int which = 0) const {
    const auto at = static_cast<unsigned>(2 * ((cell * per_cell + which) * 16 + row));
    return f16_to_f32(*reinterpret_cast<const unsigned short*>(begin + (stream[s] + at)));
  }

  // Codes 4·kk … 4·kk + 3 of block b of 32, one a byte; kk = 0 … 7.
  QUERN_DEVICE_MEMBER unsigned nibbles(int s, int b, int row, int kk) const {
    return (word(s, 256 * b + 64 * (kk & 3) + 4 * row) >> (kk & 4)) & 0x0f0f0f0fu;
  }
  QUERN_DEVICE_MEMBER unsigned whole(int s, int b, int row, int kk) const {
    return word(s, 512 * b + 64 * kk + 4 * row);
  }
  QUERN_DEVICE_MEMBER unsigned crumbs(int s, int b, int row, int kk) const {
    return (word(s, 128 * b + 64 * (kk >> 2) + 4 * row) >> (2 * (kk & 3))) & 0x03030303u;
  }
  QUERN_DEVICE_MEMBER unsigned bits(int s, int b, int row, int kk) const {
    const unsigned four = (byte(s, 64 * b + 8 * kk + (row >> 1)) >> (4 * (row & 1))) & 15u;
    return (four * 0x00204081u) & 0x01010101u;
  }
};

/// a − b, byte by byte, modulo 256.
QUERN_DEVICE unsigned minus_bytes(unsigned a, unsigned b) {
  const unsigned high = 0x80808080u;
  return ((a | high) - (b & ~high)) ^ ((a ^ ~b) & high);
}
/// `byte` in all four places. \pre byte < 256
QUERN_DEVICE unsigned in_each(unsigned byte) { return byte * 0x01010101u; }
/// Every byte times `factor`. \pre no product exceeds 255
QUERN_DEVICE unsigned times_bytes(unsigned a, unsigned factor) {
  return (a & 0x00ff00ffu) * factor + (((a >> 8) & 0x00ff00ffu) * factor << 8);
}
/// Each byte, 0 … 15, replaced by the entry of a book of four words: by its lower bits in either
/// half of the book, of which its highest bit chooses.
QUERN_DEVICE unsigned look_up(unsigned indices, const unsigned (&book)[4]) {
  const unsigned lower = indices & 0x07070707u;
  const unsigned pairs = (lower | lower >> 4) & 0x00ff00ffu;
  const unsigned selector = (pairs | pairs >> 8) & 0xffffu;  // An index to a nibble.
  const unsigned upper = (indices >> 3 & 0x01010101u) * 255u;
  return (__byte_perm(book[0], book[1], selector) & ~upper) |
         (__byte_perm(book[2], book[3], selector) & upper);
}

/// The scale and minimum of a group of one row: w = dw·code + mw.
struct GroupScale {
  float dw, mw;
};

/// Per encoding of the family kQ8Group32: kHalves (groups in 32 elements), kMin; word(panel, block,
/// row, kk), four codes as int8; scale(panel, block, row, half).
template <Encoding>
struct Codes;

/// The codes of encodings with one scale and maybe one minimum per 32, kept as float16.
template <bool min>
struct OneScale {
  static constexpr int kHalves = 1;
  static constexpr bool kMin = min;
  static QUERN_DEVICE_MEMBER GroupScale plain(const Panel& p, int s, int b, int row) {
    return {p.half(s, b, row), min ? p.half(s + 1, b, row) : 0.0f};
  }
};

template <>
struct Codes<Encoding::kQ4_0> : OneScale<false> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return minus_bytes(p.nibbles(0, b, row, kk), in_each(8));
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return plain(p, 1, b, row);
  }
};

template <>
struct Codes<Encoding::kQ4_1> : OneScale<true> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return p.nibbles(0, b, row, kk);
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return plain(p, 1, b, row);
  }
};

template <>
struct Codes<Encoding::kQ5_0> : OneScale<false> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return minus_bytes(p.nibbles(0, b, row, kk) | (p.bits(1, b, row, kk) << 4), in_each(16));
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return plain(p, 2, b, row);
  }
};

template <>
struct Codes<Encoding::kQ5_1> : OneScale<true> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return p.nibbles(0, b, row, kk) | (p.bits(1, b, row, kk) << 4);
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return plain(p, 2, b, row);
  }
};

template <>
struct Codes<Encoding::kQ8_0> : OneScale<false> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return p.whole(0, b, row, kk) ^ 0x80808080u;
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return plain(p, 1, b, row);
  }
};

template <>
struct Codes<Encoding::kIQ4_NL> : OneScale<false> {
  /// The codebook of IQ4_NL and IQ4_XS: −127, −104, −83, −65, −49, −35, −22, −10, 1, 13, 25, 38,
  /// 53, 69, 89, 113.
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    constexpr unsigned kBook[4] = {0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u};
    return look_up(p.nibbles(0, b, row, kk), kBook);
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return plain(p, 1, b, row);
  }
};

template <>
struct Codes<Encoding::kIQ4_XS> : OneScale<false> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return Codes<Encoding::kIQ4_NL>::word(p, b, row, kk);
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return {p.half(2, b / 8, row) * p.signed_byte(1, 16 * b + row), 0.0f};
  }
};

template <>
struct Codes<Encoding::kMXFP4> : OneScale<false> {
  /// Twice the value of each E2M1 number, so that the scale is 2^(e−128).
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    constexpr unsigned kBook[4] = {0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu};
    return look_up(p.nibbles(0, b, row, kk), kBook);
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    const unsigned e = p.byte(1, 16 * b + row);
    if (e == 255) return {__uint_as_float(0x7fc00000u), 0.0f};
    return {__uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0.0f};
  }
};

template <>
struct Codes<Encoding::kQ4_K> : OneScale<true> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return p.nibbles(0, b, row, kk);
  }
  /// Scale and negated minimum of Q4_K and Q5_K.
  static QUERN_DEVICE_MEMBER GroupScale pair(const Panel& p, int s, int b, int row) {
    const float sub = static_cast<float>(p.byte(s, 32 * b + row));
    const float min = static_cast<float>(p.byte(s, 32 * b + 16 + row));
    return {p.half(s + 1, b / 8, row, 2, 0) * sub, -(p.half(s + 1, b / 8, row, 2, 1) * min)};
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return pair(p, 1, b, row);
  }
};

template <>
struct Codes<Encoding::kQ5_K> : OneScale<true> {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return p.nibbles(0, b, row, kk) | (p.bits(1, b, row, kk) << 4);
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int) {
    return Codes<Encoding::kQ4_K>::pair(p, 2, b, row);
  }
};

/// Encodings with a scale per 16: a signed sub-scale under one float16.
struct TwoScales {
  static constexpr int kHalves = 2;
  static constexpr bool kMin = false;
  static QUERN_DEVICE_MEMBER GroupScale sub(const Panel& p, int s, int b, int row, int half) {
    return {p.half(s + 1, b / 8, row) * p.signed_byte(s, 32 * b + 16 * half + row), 0.0f};
  }
};

template <>
struct Codes<Encoding::kQ6_K> : TwoScales {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return minus_bytes(p.nibbles(0, b, row, kk) | (p.crumbs(1, b, row, kk) << 4), in_each(32));
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int half) {
    return sub(p, 2, b, row, half);
  }
};

template <>
struct Codes<Encoding::kQ3_K> : TwoScales {
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return minus_bytes(p.crumbs(0, b, row, kk) | (p.bits(1, b, row, kk) << 2), in_each(4));
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int half) {
    return sub(p, 2, b, row, half);
  }
};

template <>
struct Codes<Encoding::kQ2_K> {
  static constexpr int kHalves = 2;
  static constexpr bool kMin = true;
  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    return p.crumbs(0, b, row, kk);
  }
  static QUERN_DEVICE_MEMBER GroupScale scale(const Panel& p, int b, int row, int half) {
    const unsigned both = p.byte(1, 32 * b + 16 * half + row);
    return {p.half(2, b / 8, row, 2, 0) * static_cast<float>(both & 15u),
            -(p.half(2, b / 8, row, 2, 1) * static_cast<float>(both >> 4))};
  }
};

/// The native encodings: word(panel, block, row, kk), whole-number weights as int8 (multiple times
/// sub-scale); scale(panel, row).
template <Encoding E>
struct Rotated {
  /// The byte of sub-scales of 32 elements, as the 16 that hold kk need it.
  static QUERN_DEVICE_MEMBER unsigned sub(const Panel& p, int s, int b, int row, int kk) {
    return (p.byte(s, 16 * b + row) >> (kk & 4)) & 15u;
  }
  /// (code − middle)·factor.
  static QUERN_DEVICE_MEMBER unsigned scaled(unsigned codes, unsigned middle, unsigned factor) {
    return minus_bytes(times_bytes(codes, factor), in_each(middle * factor));
  }

  static QUERN_DEVICE_MEMBER unsigned word(const Panel& p, int b, int row, int kk) {
    if constexpr (E == Encoding::kQR8) return p.whole(0, b, row, kk) ^ 0x80808080u;
    if constexpr (E == Encoding::kQR3) {
      const unsigned codes = p.crumbs(0, b, row, kk) | (p.bits(1, b, row, kk) << 2);
      return scaled(codes << 1, 7, sub(p, 2, b, row, kk));
    }
    if constexpr (E == Encoding::kQR4)
      return scaled(p.nibbles(0, b, row, kk), 8, sub(p, 1, b, row, kk));
    if constexpr (E == Encoding::kQR5) {
      const unsigned codes = p.nibbles(0, b, row, kk) | (p.bits(1, b, row, kk) << 4);
      return scaled(codes, 16, (sub(p, 2, b, row, kk) & 7u) + 1);
    }
    if constexpr (E == Encoding::kQR6) {
      const unsigned codes = p.nibbles(0, b, row, kk) | (p.crumbs(1, b, row, kk) << 4);
      return scaled(codes, 32, (sub(p, 2, b, row, kk) & 3u) + 1);
    }
    return 0;
  }
  static QUERN_DEVICE_MEMBER float scale(const Panel& p, int row) {
    constexpr int kStream = E == Encoding::kQR8 ? 1 : E == Encoding::kQR4 ? 2 : 3;
    return __uint_as_float(p.word(kStream, 4 * row));
  }
};

/// One element of a panel of floats.
template <Encoding E>
QUERN_DEVICE float float_weight(const unsigned char* panel, long long at) {
  if constexpr (E == Encoding::kF32) return reinterpret_cast<const float*>(panel)[at];
  const unsigned short word = reinterpret_cast<const unsigned short*>(panel)[at];
  return E == Encoding::kF16 ? f16_to_f32(word) : bf16_to_f32(word);
}

}  // namespace quern::backends::cuda
