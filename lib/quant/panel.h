/// \file
/// Where the numbers of a panel lie: streams of cells, 16 rows side by side (the section
/// "Encodings" of the format's specification). Plain bytes in and out; no arithmetic.
/// Thread rule: pure, any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/registry.h"

namespace quern::quant {

inline constexpr std::int64_t kGroup = 32;  ///< Elements of k that a cell of codes covers.

/// \return `n` rounded up to a multiple of `multiple`.
constexpr std::int64_t padded_to(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// The streams of one panel; `Byte` is std::byte or const std::byte. A view.
template <class Byte>
struct PanelStreams {
  std::array<Byte*, 4> at{};
};

/// Finds the streams of a panel of `id` with rows of `cols` elements.
/// \pre `id` is in the table of encodings and the panel's size does not overflow.
template <class Byte>
PanelStreams<Byte> locate_streams(Encoding id, Byte* panel, std::int64_t cols) {
  PanelStreams<Byte> streams;
  const EncodingInfo& info = *find_encoding(id);
  for (int i = 0; i < 4; ++i) {
    const auto offset = stream_offset(info, static_cast<std::uint64_t>(cols), i);
    streams.at[static_cast<std::size_t>(i)] = panel + offset.value_or(0);
  }
  return streams;
}

/// Zeroes a panel, so that its padding is defined.
inline void clear_panel(Encoding id, std::byte* panel, std::int64_t cols) {
  const auto bytes = panel_bytes(*find_encoding(id), static_cast<std::uint64_t>(cols));
  std::memset(panel, 0, static_cast<std::size_t>(bytes.value_or(0)));
}

/// Little-endian scalars at any alignment.
template <class T>
T load_le(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
void store_le(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

// Cells. `code` holds one row's 32 codes of the cell; only the bits that the cell keeps are read
// or replaced. `shift` is the place of those bits in a code.

/// 4-bit cell, 256 bytes: byte [64j + 4·row + i] = k 4j+i (low nibble), 16+4j+i (high nibble).
inline void put_nibbles(std::byte* cell, int row, const std::uint8_t* code) {
  for (int j = 0; j < 4; ++j) {
    std::byte* to = cell + 64 * j + 4 * row;
    for (int i = 0; i < 4; ++i) {
      const unsigned low = code[4 * j + i] & 15u, high = code[16 + 4 * j + i] & 15u;
      to[i] = static_cast<std::byte>(low | (high << 4));
    }
  }
}
inline void get_nibbles(const std::byte* cell, int row, std::uint8_t* code) {
  for (int j = 0; j < 4; ++j) {
    const std::byte* from = cell + 64 * j + 4 * row;
    for (int i = 0; i < 4; ++i) {
      const auto both = std::to_integer<unsigned>(from[i]);
      code[4 * j + i] = static_cast<std::uint8_t>(code[4 * j + i] | (both & 15u));
      code[16 + 4 * j + i] = static_cast<std::uint8_t>(code[16 + 4 * j + i] | (both >> 4));
    }
  }
}

/// 8-bit cell, 512 bytes: byte [64kk + 4·row + i] = k 4kk+i.
inline void put_bytes(std::byte* cell, int row, const std::uint8_t* code) {
  for (int kk = 0; kk < 8; ++kk) std::memcpy(cell + 64 * kk + 4 * row, code + 4 * kk, 4);
}
inline void get_bytes(const std::byte* cell, int row, std::uint8_t* code) {
  for (int kk = 0; kk < 8; ++kk) std::memcpy(code + 4 * kk, cell + 64 * kk + 4 * row, 4);
}

/// 1-bit cell, 64 bytes: eight little-endian 64-bit masks; bit 4·row+i of mask[m] = k 4m+i.
inline void put_bits(std::byte* cell, int row, const std::uint8_t* code, int shift) {
  for (int m = 0; m < 8; ++m) {
    unsigned four = 0;
    for (int i = 0; i < 4; ++i) four |= ((code[4 * m + i] >> shift) & 1u) << i;
    std::byte* to = cell + 8 * m + row / 2;
    const int at = 4 * (row % 2);
    *to = (*to & static_cast<std::byte>(~(15u << at) & 255u)) | static_cast<std::byte>(four << at);
  }
}
inline void get_bits(const std::byte* cell, int row, std::uint8_t* code, int shift) {
  for (int m = 0; m < 8; ++m) {
    const unsigned four = std::to_integer<unsigned>(cell[8 * m + row / 2]) >> (4 * (row % 2));
    for (int i = 0; i < 4; ++i) {
      std::uint8_t& to = code[4 * m + i];
      to = static_cast<std::uint8_t>(to | (((four >> i) & 1u) << shift));
    }
  }
}

/// 2-bit cell, 128 bytes: crumb c of byte [64v + 4·row + i] = k 16v+4c+i.
inline void put_crumbs(std::byte* cell, int row, const std::uint8_t* code, int shift) {
  for (int v = 0; v < 2; ++v) {
    for (int i = 0; i < 4; ++i) {
      unsigned all = 0;
      for (int c = 0; c < 4; ++c) all |= ((code[16 * v + 4 * c + i] >> shift) & 3u) << (2 * c);
      cell[64 * v + 4 * row + i] = static_cast<std::byte>(all);
    }
  }
}
inline void get_crumbs(const std::byte* cell, int row, std::uint8_t* code, int shift) {
  for (int v = 0; v < 2; ++v) {
    for (int i = 0; i < 4; ++i) {
      const auto all = std::to_integer<unsigned>(cell[64 * v + 4 * row + i]);
      for (int c = 0; c < 4; ++c) {
        std::uint8_t& to = code[16 * v + 4 * c + i];
        to = static_cast<std::uint8_t>(to | (((all >> (2 * c)) & 3u) << shift));
      }
    }
  }
}

}  // namespace quern::quant
