// Where the bits of a panel lie, by formats/ENCODINGS.md: every address below is written from its
// table of cells, and any bytes are a valid panel. Files and kernels depend on these places.

#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <map>

#include "panel_support.h"

namespace quern::quant {
namespace {

constexpr std::int64_t kCols = 512;
constexpr int kBook[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                           1,    13,   25,  38,  53,  69,  89,  113};
constexpr float kE2m1[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, 0, -.5f, -1, -1.5f, -2, -3, -4, -6};

/// A panel of 512 columns, read cell by cell; `stream` is its number.
struct PanelReader {
  const EncodingInfo& info;
  const std::byte* panel;

  unsigned byte(int stream, std::size_t at) const {
    return std::to_integer<unsigned>(panel[stream_offset(info, kCols, stream).value() + at]);
  }
  unsigned nibble(int stream, std::size_t r, std::size_t k) const {
    const std::size_t in = k % 32, j = in % 16 / 4, i = in % 4;
    return byte(stream, k / 32 * 256 + 64 * j + 4 * r + i) >> (in < 16 ? 0 : 4) & 15u;
  }
  unsigned full(int stream, std::size_t r, std::size_t k) const {
    return byte(stream, k / 32 * 512 + 64 * (k % 32 / 4) + 4 * r + k % 4);
  }
  unsigned crumb(int stream, std::size_t r, std::size_t k) const {
    const std::size_t in = k % 32, v = in / 16, c = in % 16 / 4, i = in % 4;
    return byte(stream, k / 32 * 128 + 64 * v + 4 * r + i) >> (2 * c) & 3u;
  }
  unsigned bit(int stream, std::size_t r, std::size_t k) const {
    const std::size_t in = k % 32, at = 4 * r + in % 4;  // of mask in / 4
    return byte(stream, k / 32 * 64 + 8 * (in / 4) + at / 8) >> (at % 8) & 1u;
  }
  unsigned one(int stream, std::size_t r, std::size_t k) const {
    return byte(stream, k / 32 * 16 + r);
  }
  /// A byte of a pair: the first one or the second one of row r.
  unsigned pair(int stream, std::size_t r, std::size_t k, std::size_t which) const {
    return byte(stream, k / 32 * 32 + 16 * which + r);
  }
  float half(int stream, std::size_t at) const {
    return f16_to_f32(static_cast<std::uint16_t>(byte(stream, at) | byte(stream, at + 1) << 8));
  }
  float word(int stream, std::size_t at) const {
    float value = 0;
    std::memcpy(&value, panel + stream_offset(info, kCols, stream).value() + at, 4);
    return value;
  }
};

float number(unsigned code, int offset) {
  return static_cast<float>(static_cast<int>(code) - offset);
}
float signed_byte(unsigned byte) { return static_cast<float>(static_cast<std::int8_t>(byte)); }

using P = const PanelReader&;
using Z = std::size_t;

/// The column "value" of the table, before the rotation of native encodings.
const std::map<Encoding, std::function<float(P, Z, Z)>> kValue = {
    {Encoding::kF32, [](P p, Z r, Z k) { return p.word(0, 64 * k + 4 * r); }},
    {Encoding::kF16, [](P p, Z r, Z k) { return p.half(0, 32 * k + 2 * r); }},
    {Encoding::kBF16,
     [](P p, Z r, Z k) {
       const Z at = 32 * k + 2 * r;
       return bf16_to_f32(static_cast<std::uint16_t>(p.byte(0, at) | p.byte(0, at + 1) << 8));
     }},
    {Encoding::kQ4_0,
     [](P p, Z r, Z k) { return number(p.nibble(0, r, k), 8) * p.half(1, k / 32 * 32 + 2 * r); }},
    {Encoding::kQ4_1,
     [](P p, Z r, Z k) {
       const Z at = k / 32 * 32 + 2 * r;
       return number(p.nibble(0, r, k), 0) * p.half(1, at) + p.half(2, at);
     }},
    {Encoding::kQ5_0,
     [](P p, Z r, Z k) {
       const unsigned q = p.nibble(0, r, k) + 16 * p.bit(1, r, k);
       return number(q, 16) * p.half(2, k / 32 * 32 + 2 * r);
     }},
    {Encoding::kQ5_1,
     [](P p, Z r, Z k) {
       const unsigned q = p.nibble(0, r, k) + 16 * p.bit(1, r, k);
       const Z at = k / 32 * 32 + 2 * r;
       return number(q, 0) * p.half(2, at) + p.half(3, at);
     }},
    {Encoding::kQ8_0,
     [](P p, Z r, Z k) { return number(p.full(0, r, k), 128) * p.half(1, k / 32 * 32 + 2 * r); }},
    {Encoding::kQ2_K,
     [](P p, Z r, Z k) {
       const unsigned s = p.pair(1, r, k, k / 16 % 2);
       const Z at = k / 256 * 64 + 2 * r;
       return p.half(2, at) * number(s & 15u, 0) * number(p.crumb(0, r, k), 0) -
              p.half(2, at + 32) * number(s >> 4, 0);
     }},
    {Encoding::kQ3_K,
     [](P p, Z r, Z k) {
       const unsigned q = p.crumb(0, r, k) + 4 * p.bit(1, r, k);
       const float s = signed_byte(p.pair(2, r, k, k / 16 % 2));
       return p.half(3, k / 256 * 32 + 2 * r) * s * number(q, 4);
     }},
    {Encoding::kQ4_K,
     [](P p, Z r, Z k) {
       const Z at = k / 256 * 64 + 2 * r;
       return p.half(2, at) * number(p.pair(1, r, k, 0), 0) * number(p.nibble(0, r, k), 0) -
              p.half(2, at + 32) * number(p.pair(1, r, k, 1), 0);
     }},
    {Encoding::kQ5_K,
     [](P p, Z r, Z k) {
       const unsigned q = p.nibble(0, r, k) + 16 * p.bit(1, r, k);
       const Z at = k / 256 * 64 + 2 * r;
       return p.half(3, at) * number(p.pair(2, r, k, 0), 0) * number(q, 0) -
              p.half(3, at + 32) * number(p.pair(2, r, k, 1), 0);
     }},
    {Encoding::kQ6_K,
     [](P p, Z r, Z k) {
       const unsigned q = p.nibble(0, r, k) + 16 * p.crumb(1, r, k);
       const float s = signed_byte(p.pair(2, r, k, k / 16 % 2));
       return p.half(3, k / 256 * 32 + 2 * r) * s * number(q, 32);
     }},
    {Encoding::kIQ4_NL,
     [](P p, Z r, Z k) {
       return static_cast<float>(kBook[p.nibble(0, r, k)]) * p.half(1, k / 32 * 32 + 2 * r);
     }},
    {Encoding::kIQ4_XS,
     [](P p, Z r, Z k) {
       const float scale = p.half(2, k / 256 * 32 + 2 * r) * signed_byte(p.one(1, r, k));
       return static_cast<float>(kBook[p.nibble(0, r, k)]) * scale;
     }},
    {Encoding::kMXFP4,
     [](P p, Z r, Z k) {
       const unsigned e = p.one(1, r, k);
       const double value = static_cast<double>(kE2m1[p.nibble(0, r, k)]);
       return e == 255 ? std::nanf("")
                       : static_cast<float>(std::ldexp(value, static_cast<int>(e) - 127));
     }},
    {Encoding::kQR8, [](P p, Z r, Z k) { return number(p.full(0, r, k), 128) * p.word(1, 4 * r); }},
    {Encoding::kQR4,
     [](P p, Z r, Z k) {
       const unsigned s = p.one(1, r, k) >> (k % 32 < 16 ? 0 : 4) & 15u;
       const int product = (static_cast<int>(p.nibble(0, r, k)) - 8) * static_cast<int>(s);
       return static_cast<float>(product) * p.word(2, 4 * r);
     }},
    {Encoding::kQR3,
     [](P p, Z r, Z k) {
       const unsigned q = p.crumb(0, r, k) + 4 * p.bit(1, r, k);
       const unsigned s = p.one(2, r, k) >> (k % 32 < 16 ? 0 : 4) & 15u;
       return static_cast<float>((2 * static_cast<int>(q) - 7) * static_cast<int>(s)) *
              p.word(3, 4 * r);
     }},
    {Encoding::kQR5,
     [](P p, Z r, Z k) {
       const unsigned q = p.nibble(0, r, k) + 16 * p.bit(1, r, k);
       const unsigned s = (p.one(2, r, k) >> (k % 32 < 16 ? 0 : 4) & 7u) + 1;
       return static_cast<float>((static_cast<int>(q) - 16) * static_cast<int>(s)) *
              p.word(3, 4 * r);
     }},
    {Encoding::kQR6,
     [](P p, Z r, Z k) {
       const unsigned q = p.nibble(0, r, k) + 16 * p.crumb(1, r, k);
       const unsigned s = (p.one(2, r, k) >> (k % 32 < 16 ? 0 : 4) & 3u) + 1;
       return static_cast<float>((static_cast<int>(q) - 32) * static_cast<int>(s)) *
              p.word(3, 4 * r);
     }},
};

/// Values by the specification, `[16][512]`.
std::vector<float> by_specification(const EncodingInfo& info, const std::byte* panel) {
  const PanelReader reader{info, panel};
  std::vector<float> values(static_cast<std::size_t>(16 * kCols));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = kValue.at(info.id)(reader, i / kCols, i % kCols);
  }
  if (info.rows == RowFormat::kQ8Rotated) hadamard64(values.data(), 16 * kCols);
  return values;
}

TEST_CASE("any bytes of a panel mean what the specification's table says") {
  for (const EncodingOps& ops : all_ops()) {
    const EncodingInfo& info = *find_encoding(ops.id);
    CAPTURE(info.name);
    REQUIRE(kValue.count(ops.id) == 1);
    for (std::uint32_t seed = 0; seed < 8; ++seed) {
      const auto panel = test::random_bytes(test::panel_size(ops.id, kCols), 200 + seed);
      const auto expected = by_specification(info, panel.data());
      std::vector<float> values(expected.size());
      ops.dequantize_panel(panel.data(), kCols, values.data());
      for (std::size_t i = 0; i < values.size(); ++i) {
        const bool both_nan = std::isnan(values[i]) && std::isnan(expected[i]);
        REQUIRE((both_nan || values[i] == expected[i]));
      }
    }
  }
}

}  // namespace
}  // namespace quern::quant
