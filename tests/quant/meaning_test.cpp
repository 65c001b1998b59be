// What the bits of GGUF's blocks mean, judged three ways: numbers worked out by hand, a second
// implementation written element by element from the block's layout, and values that the Python
// package `gguf` 0.19 computed (fixtures/).

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>

#include "panel_support.h"

namespace quern::quant {
namespace {

/// Reads a block as bytes; used by the second implementation.
struct Bytes {
  const std::byte* at;
  unsigned u8(int i) const { return std::to_integer<unsigned>(at[i]); }
  int i8(int i) const { return static_cast<std::int8_t>(u8(i)); }
  float f16(int i) const { return f16_to_f32(static_cast<std::uint16_t>(u8(i) | u8(i + 1) << 8)); }
  unsigned bits(int i, unsigned shift, unsigned count) const {
    return u8(i) >> shift & ((1u << count) - 1u);
  }
};

constexpr int kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr float kFp4[8] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};

/// 4-bit code k of 32 in 16 bytes from `base`.
unsigned half_nibble(const Bytes& b, int base, int k) {
  return b.bits(base + k % 16, k < 16 ? 0 : 4, 4);
}
/// 4-bit code k of 256 in 128 bytes from `base`.
unsigned k_nibble(const Bytes& b, int base, int k) {
  return b.bits(base + k / 64 * 32 + k % 32, k % 64 < 32 ? 0 : 4, 4);
}
/// 2-bit code k of 256 in 64 bytes from `base`.
unsigned k_crumb(const Bytes& b, int base, int k) {
  return b.bits(base + k / 128 * 32 + k % 32, static_cast<unsigned>(k / 32 % 4) * 2, 2);
}
unsigned k_bit(const Bytes& b, int base, int k) {
  return b.bits(base + k % 32, static_cast<unsigned>(k / 32), 1);
}
/// 6-bit scale and minimum of group g of Q4_K and Q5_K, packed from byte 4 on.
float k_scale(const Bytes& b, int g) {
  return static_cast<float>(g < 4 ? b.bits(4 + g, 0, 6)
                                  : b.bits(8 + g, 0, 4) | b.bits(g, 6, 2) << 4);
}
float k_min(const Bytes& b, int g) {
  return static_cast<float>(g < 4 ? b.bits(8 + g, 0, 6)
                                  : b.bits(8 + g, 4, 4) | b.bits(4 + g, 6, 2) << 4);
}
float signed_float(unsigned code, int offset) {
  return static_cast<float>(static_cast<int>(code) - offset);
}

float q2_k(const Bytes& b, int k) {
  return b.f16(80) * static_cast<float>(b.bits(k / 16, 0, 4)) *
             static_cast<float>(k_crumb(b, 16, k)) -
         b.f16(82) * static_cast<float>(b.bits(k / 16, 4, 4));
}
float q3_k(const Bytes& b, int k) {
  const int s = k / 16;
  const unsigned scale = b.bits(96 + s % 8, s < 8 ? 0 : 4, 4) |
                         b.bits(104 + s % 4, static_cast<unsigned>(s / 4) * 2, 2) << 4;
  return b.f16(108) * signed_float(scale, 32) *
         signed_float(k_crumb(b, 32, k) | k_bit(b, 0, k) << 2, 4);
}
float q6_k(const Bytes& b, int k) {
  const int half = k / 128, part = k / 32 % 4, l = k % 32;
  const unsigned low = b.bits(64 * half + 32 * (part % 2) + l, part < 2 ? 0 : 4, 4);
  const unsigned high = b.bits(128 + 32 * half + l, static_cast<unsigned>(part) * 2, 2);
  return b.f16(208) * static_cast<float>(b.i8(192 + k / 16)) * signed_float(low | high << 4, 32);
}
float iq4_xs(const Bytes& b, int k) {
  const int g = k / 32;
  const unsigned high = (b.u8(2) | b.u8(3) << 8) >> (2 * g) & 3u;
  const unsigned scale = b.bits(4 + g / 2, g % 2 == 0 ? 0 : 4, 4) | high << 4;
  return b.f16(0) * signed_float(scale, 32) *
         static_cast<float>(kIq4[half_nibble(b, 8 + 16 * g, k % 32)]);
}
float mxfp4(const Bytes& b, int k) {
  if (b.u8(0) == 255) return std::nanf("");
  const unsigned code = half_nibble(b, 1, k);
  const double value =
      std::ldexp(static_cast<double>(kFp4[code & 7u]), static_cast<int>(b.u8(0)) - 127);
  return static_cast<float>(code < 8 ? value : -value);
}

/// Value of element k of a block, for every GGUF encoding, with the roundings of FORMAT.md.
const std::map<Encoding, std::function<float(const Bytes&, int)>> kReference = {
    {Encoding::kQ4_0,
     [](const Bytes& b, int k) { return b.f16(0) * signed_float(half_nibble(b, 2, k), 8); }},
    {Encoding::kQ4_1,
     [](const Bytes& b, int k) {
       return b.f16(0) * signed_float(half_nibble(b, 4, k), 0) + b.f16(2);
     }},
    {Encoding::kQ5_0,
     [](const Bytes& b, int k) {
       return b.f16(0) * signed_float(half_nibble(b, 6, k) |
                                          b.bits(2 + k / 8, static_cast<unsigned>(k % 8), 1) << 4,
                                      16);
     }},
    {Encoding::kQ5_1,
     [](const Bytes& b, int k) {
       return b.f16(0) * signed_float(half_nibble(b, 8, k) |
                                          b.bits(4 + k / 8, static_cast<unsigned>(k % 8), 1) << 4,
                                      0) +
              b.f16(2);
     }},
    {Encoding::kQ8_0,
     [](const Bytes& b, int k) { return b.f16(0) * static_cast<float>(b.i8(2 + k)); }},
    {Encoding::kQ2_K, q2_k},
    {Encoding::kQ3_K, q3_k},
    {Encoding::kQ4_K,
     [](const Bytes& b, int k) {
       return b.f16(0) * k_scale(b, k / 32) * signed_float(k_nibble(b, 16, k), 0) -
              b.f16(2) * k_min(b, k / 32);
     }},
    {Encoding::kQ5_K,
     [](const Bytes& b, int k) {
       return b.f16(0) * k_scale(b, k / 32) *
                  signed_float(k_nibble(b, 48, k) | k_bit(b, 16, k) << 4, 0) -
              b.f16(2) * k_min(b, k / 32);
     }},
    {Encoding::kQ6_K, q6_k},
    {Encoding::kIQ4_NL,
     [](const Bytes& b, int k) {
       return b.f16(0) * static_cast<float>(kIq4[half_nibble(b, 2, k)]);
     }},
    {Encoding::kIQ4_XS, iq4_xs},
    {Encoding::kMXFP4, mxfp4},
};

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// The values of 16 rows, each `bytes` long, through a panel.
std::vector<float> through_panel(const EncodingOps& ops, const std::vector<std::byte>& rows,
                                 std::int64_t cols) {
  std::vector<std::byte> panel(test::panel_size(ops.id, cols));
  std::vector<float> values(static_cast<std::size_t>(16 * cols));
  const std::byte* from[16] = {};
  const std::size_t row_bytes = ops.foreign_row_bytes(cols);
  for (std::size_t r = 0; r < 16 && r * row_bytes < rows.size(); ++r)
    from[r] = rows.data() + r * row_bytes;
  ops.interleave_panel(from, cols, panel.data());
  ops.dequantize_panel(panel.data(), cols, values.data());
  return values;
}

TEST_CASE("a panel means what a second implementation reads from GGUF's blocks, for any bytes") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.interleave_panel == nullptr || find_encoding(ops.id)->k_multiple == 1) continue;
    CAPTURE(find_encoding(ops.id)->name);
    REQUIRE(kReference.count(ops.id) == 1);
    const auto& reference = kReference.at(ops.id);
    const std::int64_t block = find_encoding(ops.id)->k_multiple, cols = 512;
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
      const std::size_t row_bytes = ops.foreign_row_bytes(cols);
      const auto rows = test::random_bytes(16 * row_bytes, 100 + seed);
      const auto values = through_panel(ops, rows, cols);
      for (std::int64_t i = 0; i < 16 * cols; ++i) {
        const Bytes bytes{rows.data() +
                          i / block * static_cast<std::int64_t>(ops.foreign_row_bytes(block))};
        const float expected = reference(bytes, static_cast<int>(i % block));
        REQUIRE(same(values[static_cast<std::size_t>(i)], expected));
      }
    }
  }
}

TEST_CASE("a panel means what the Python package gguf reads from the same blocks") {
  std::ifstream file(std::string(QUERN_SOURCE_DIR) + "/tests/quant/fixtures/gguf_blocks.bin",
                     std::ios::binary);
  REQUIRE(file.good());
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::size_t at = 0;
  std::size_t records = 0;
  while (at < all.size()) {
    std::uint32_t elements = 0, bytes = 0;
    const std::string name = all.substr(at, 8).c_str();
    std::memcpy(&elements, all.data() + at + 8, 4);
    std::memcpy(&bytes, all.data() + at + 12, 4);
    std::vector<std::byte> row(bytes);
    std::vector<float> expected(elements);
    std::memcpy(row.data(), all.data() + at + 16, bytes);
    std::memcpy(expected.data(), all.data() + at + 16 + bytes, 4 * elements);
    at += 16 + bytes + 4 * elements;
    ++records;
    CAPTURE(name);
    const EncodingOps* ops = find_ops(find_encoding(name)->id);
    const auto values = through_panel(*ops, row, static_cast<std::int64_t>(elements));
    for (std::size_t i = 0; i < elements; ++i) REQUIRE(values[i] == expected[i]);
  }
  CHECK(records == kReference.size());
}

/// One element worked out by hand: block bytes given as (offset, value) over zeros.
struct ByHand {
  Encoding id;
  std::vector<std::pair<int, unsigned>> bytes;
  int k;
  float expected;
};

TEST_CASE("single elements have the values worked out by hand") {
  // float16: 0x3c00 = 1, 0x3800 = 0.5, 0x4000 = 2, 0xc000 = -2.
  const ByHand cases[] = {
      {Encoding::kQ4_0, {{1, 0x38}, {2 + 3, 0xf2}}, 3, -3.0f},             // (2 − 8)·0.5
      {Encoding::kQ4_0, {{1, 0x38}, {2 + 3, 0xf2}}, 19, 3.5f},             // (15 − 8)·0.5
      {Encoding::kQ4_1, {{1, 0x40}, {3, 0xc0}, {4, 0x07}}, 0, 12.0f},      // 7·2 − 2
      {Encoding::kQ5_0, {{1, 0x3c}, {4, 0x02}, {6 + 1, 0x50}}, 17, 5.0f},  // (5 + 16) − 16
      {Encoding::kQ5_1, {{1, 0x3c}, {3, 0x3c}, {2 + 2, 0x01}, {8, 0x03}}, 0, 20.0f},  // 19 + 1
      {Encoding::kQ8_0, {{1, 0x38}, {2 + 31, 0xfe}}, 31, -1.0f},                      // −2·0.5
      // d 1, dmin 2; scale byte of k 16…31: scale 3, minimum 5; crumb of k 17: 2.
      {Encoding::kQ2_K, {{81, 0x3c}, {83, 0x40}, {1, 0x53}, {16 + 17, 0x02}}, 17, -4.0f},
      // Scale 0 stored as 33 = 1 | 2·16, third bit clear, crumb 3: (3 − 4)·1·d.
      {Encoding::kQ3_K, {{109, 0x40}, {96, 0x01}, {104, 0x02}, {32, 0x03}}, 0, -2.0f},
      // Group 5: scale 17 = 1 | 1·16, minimum 2; code 9 in the high nibble of byte 64: 17·9 − 2·2.
      {Encoding::kQ4_K,
       {{1, 0x3c}, {3, 0x40}, {4 + 9, 0x21}, {4 + 1, 0x40}, {16 + 64, 0x90}},
       160,
       149.0f},
      // Group 1: scale 2, minimum 0; low nibble 3, fifth bit set: 2·19.
      {Encoding::kQ5_K, {{1, 0x3c}, {4 + 1, 0x02}, {16 + 4, 0x02}, {48 + 4, 0x30}}, 36, 38.0f},
      // k 100 = quarter 3, l 4: high nibble of byte 36, crumb 3 of byte 4; scale 6 is −3.
      {Encoding::kQ6_K, {{209, 0x38}, {36, 0x50}, {128 + 4, 0x80}, {192 + 6, 0xfd}}, 100, -7.5f},
      {Encoding::kIQ4_NL, {{1, 0x38}, {2, 0x0f}}, 0, 56.5f},  // 113·0.5
      // Group 2: scale 32 + 1 − 32; code 0: −127.
      {Encoding::kIQ4_XS, {{1, 0x3c}, {2, 0x20}, {5, 0x01}}, 64, -127.0f},
      {Encoding::kMXFP4, {{0, 128}, {1, 0x0d}}, 0, -6.0f},    // −3·2
      {Encoding::kMXFP4, {{0, 0}, {1, 0x01}}, 0, 0x1p-128f},  // 0.5·2⁻¹²⁷
  };
  for (const ByHand& one : cases) {
    CAPTURE(find_encoding(one.id)->name);
    const EncodingOps& ops = *find_ops(one.id);
    const std::int64_t cols = find_encoding(one.id)->k_multiple;
    std::vector<std::byte> row(ops.foreign_row_bytes(cols));
    for (const auto& [at, value] : one.bytes)
      row[static_cast<std::size_t>(at)] |= static_cast<std::byte>(value);
    CHECK(through_panel(ops, row, cols)[static_cast<std::size_t>(one.k)] == one.expected);
  }
}

TEST_CASE("the example of the specification is what it says") {
  constexpr unsigned kRow[18] = {0x00, 0x38, 0x80, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6,
                                 0xf7, 0x08, 0x19, 0x2a, 0x3b, 0x4c, 0x5d, 0x6e, 0x7f};
  std::byte row[18];
  std::transform(kRow, kRow + 18, row, [](unsigned b) { return static_cast<std::byte>(b); });
  const std::byte* rows[16] = {row};
  const EncodingOps& ops = *find_ops(Encoding::kQ4_0);
  std::vector<std::byte> panel(test::panel_size(ops.id, 32)), expected(320);
  REQUIRE(panel.size() == expected.size());
  for (std::size_t i = 0; i < 16; ++i) expected[i / 4 * 64 + i % 4] = row[2 + i];
  expected[257] = row[1];
  ops.interleave_panel(rows, 32, panel.data());
  CHECK(panel == expected);
  std::vector<float> values(16 * 32);
  ops.dequantize_panel(panel.data(), 32, values.data());
  CHECK(values[0] == -4.0f);
  CHECK(values[16] == 0.0f);
}

TEST_CASE("floats keep their values in panels") {
  const std::vector<float> rows = test::gaussian(16 * 5, 3);
  CHECK(test::round_trip(*find_ops(Encoding::kF32), rows, 5) == rows);
  const std::vector<float> halves = test::round_trip(*find_ops(Encoding::kF16), rows, 5);
  const std::vector<float> brains = test::round_trip(*find_ops(Encoding::kBF16), rows, 5);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(halves[i] == f16_to_f32(f32_to_f16(rows[i])));
    CHECK(brains[i] == bf16_to_f32(f32_to_bf16(rows[i])));
  }
}

}  // namespace
}  // namespace quern::quant
