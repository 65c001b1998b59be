// What quantizing loses. Bounds on both sides: a result that is too good means a broken measure.
// Table-driven: an encoding that quantizes must have a row of bounds.

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "panel_support.h"

namespace quern::quant {
namespace {

struct Bounds {
  double gaussian_low, gaussian_high;  ///< Relative RMSE on Gaussian weights.
  double t5_low, t5_high;              ///< On Student-t weights with 5 degrees of freedom.
};

/// Measured figures are within 2 % of the middle of each range.
const std::map<Encoding, Bounds> kBounds = {
    {Encoding::kF32, {0, 0, 0, 0}},
    {Encoding::kF16, {0.00018, 0.00024, 0.00018, 0.00024}},
    {Encoding::kBF16, {0.00155, 0.00180, 0.00155, 0.00180}},
    {Encoding::kQ4_0, {0.078, 0.083, 0.098, 0.106}},
    {Encoding::kQ4_1, {0.067, 0.072, 0.077, 0.083}},
    {Encoding::kQ5_0, {0.0385, 0.0413, 0.0485, 0.0525}},
    {Encoding::kQ5_1, {0.0325, 0.0350, 0.0370, 0.0405}},
    {Encoding::kQ8_0, {0.0046, 0.0051, 0.0058, 0.0065}},
    {Encoding::kQ4_K, {0.068, 0.073, 0.077, 0.084}},
    {Encoding::kQ5_K, {0.0335, 0.0360, 0.0380, 0.0420}},
    {Encoding::kQ6_K, {0.0160, 0.0174, 0.0190, 0.0212}},
    {Encoding::kIQ4_NL, {0.070, 0.076, 0.080, 0.087}},
    {Encoding::kQR8, {0.0060, 0.0090, 0.0060, 0.0095}},
    {Encoding::kQR4, {0.074, 0.081, 0.073, 0.080}},
    {Encoding::kQR3, {0.150, 0.162, 0.148, 0.160}},
    {Encoding::kQR5, {0.0395, 0.0430, 0.0390, 0.0425}},
    {Encoding::kQR6, {0.0220, 0.0242, 0.0215, 0.0238}},
};

TEST_CASE("quantizing loses no more and no less than each encoding can") {
  const std::int64_t cols = 1536;
  const auto normal = test::gaussian(16 * 1536, 11), heavy = test::student_t5(16 * 1536, 12);
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    REQUIRE(kBounds.count(ops.id) == 1);
    const Bounds& bounds = kBounds.at(ops.id);
    const double gaussian = test::relative_rmse(normal, test::round_trip(ops, normal, cols));
    const double t5 = test::relative_rmse(heavy, test::round_trip(ops, heavy, cols));
    CHECK(gaussian >= bounds.gaussian_low);
    CHECK(gaussian <= bounds.gaussian_high);
    CHECK(t5 >= bounds.t5_low);
    CHECK(t5 <= bounds.t5_high);
  }
}

TEST_CASE("every width is quantized, and padding changes neither neighbours nor bytes beyond") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    for (const std::int64_t cols : {1, 2, 15, 31, 32, 33, 63, 65, 100, 257, 300}) {
      CAPTURE(cols);
      auto rows =
          test::gaussian(static_cast<std::size_t>(16 * cols), static_cast<std::uint32_t>(cols));
      std::fill(rows.begin() + 9 * cols, rows.end(), 0.0f);  // rows beyond the matrix
      std::vector<std::byte> panel(test::panel_size(ops.id, cols) + 64, std::byte{0xa5});
      std::vector<float> back(rows.size() + 8, 77.0f);
      ops.quantize_panel(rows.data(), cols, {}, panel.data());
      ops.dequantize_panel(panel.data(), cols, back.data());
      CHECK(
          std::all_of(panel.end() - 64, panel.end(), [](auto b) { return b == std::byte{0xa5}; }));
      CHECK(std::all_of(back.end() - 8, back.end(), [](float v) { return v == 77.0f; }));
      back.resize(rows.size());
      CHECK(std::all_of(back.begin() + 9 * cols, back.end(), [](float v) { return v == 0; }));
      CHECK(test::relative_rmse(rows, back) < 0.22);
    }
  }
}

TEST_CASE("the same rows give the same bytes, whatever the panel held before") {
  const auto rows = test::student_t5(16 * 320, 4);
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    const std::size_t size = test::panel_size(ops.id, 320);
    std::vector<std::byte> first(size), second(size, std::byte{0xff});
    ops.quantize_panel(rows.data(), 320, {}, first.data());
    ops.quantize_panel(rows.data(), 320, {}, second.data());
    CHECK(first == second);
  }
}

TEST_CASE("a quantized panel that goes to GGUF rows and back is the same panel") {
  const auto rows = test::gaussian(16 * 512, 5);
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr || ops.interleave_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    std::vector<std::byte> panel(test::panel_size(ops.id, 512)), again(panel.size());
    ops.quantize_panel(rows.data(), 512, {}, panel.data());
    const std::size_t row_bytes = ops.foreign_row_bytes(512);
    std::vector<std::byte> plain(16 * row_bytes);
    std::byte* to[16];
    const std::byte* from[16];
    for (std::size_t r = 0; r < 16; ++r) from[r] = to[r] = plain.data() + r * row_bytes;
    ops.deinterleave_panel(panel.data(), 512, to);
    ops.interleave_panel(from, 512, again.data());
    CHECK(panel == again);
  }
}

TEST_CASE("column weights lower the weighted error of GGUF encodings and never break native ones") {
  const std::size_t cols = 768;
  const auto rows = test::gaussian(16 * cols, 6);
  std::vector<float> weight(cols);
  for (std::size_t i = 0; i < cols; ++i) weight[i] = i * 7919 % 13 < 2 ? 20.0f : 0.5f;
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr || find_encoding(ops.id)->k_multiple == 1) continue;
    CAPTURE(find_encoding(ops.id)->name);
    const auto plain = test::round_trip(ops, rows, cols);
    const auto hinted = test::round_trip(ops, rows, cols, {weight.data()});
    const double before = test::relative_rmse(rows, plain, weight);
    const double after = test::relative_rmse(rows, hinted, weight);
    CHECK(after < before * (ops.interleave_panel != nullptr ? 0.9 : 1.02));
    CHECK(after > before * 0.5);
  }
}

TEST_CASE("column weights that are all zero, negative, NaN or infinite count as none") {
  const auto rows = test::gaussian(16 * 256, 7);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    const auto plain = test::round_trip(ops, rows, 256);
    for (const float bad : {0.0f, -1.0f, nan, infinity}) {
      const std::vector<float> weight(256, bad);
      CHECK(test::round_trip(ops, rows, 256, {weight.data()}) == plain);
    }
    for (const float size : {1e-30f, 1e30f}) {  // only ratios count
      const std::vector<float> weight(256, size);
      CHECK(test::round_trip(ops, rows, 256, {weight.data()}) == plain);
    }
  }
}

/// Which elements of row 3 may turn NaN when element 70 is not finite: those of its own scale.
std::pair<std::int64_t, std::int64_t> reach_of_damage(const EncodingInfo& info, std::int64_t cols) {
  if (info.rows == RowFormat::kQ8Rotated) return {0, cols};
  const std::int64_t block = info.k_multiple;
  return {70 / block * block, std::min(cols, 70 / block * block + block)};
}

TEST_CASE("NaN and infinity turn the elements under their scale into NaN and nothing else") {
  const std::int64_t cols = 300;
  for (const EncodingOps& ops : all_ops()) {
    const EncodingInfo& info = *find_encoding(ops.id);
    if (ops.quantize_panel == nullptr || info.k_multiple == 1) continue;
    CAPTURE(info.name);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      auto rows = test::gaussian(16 * 300, 8);
      const auto clean = test::round_trip(ops, rows, cols);
      rows[3 * 300 + 70] = bad;
      const auto back = test::round_trip(ops, rows, cols);
      const auto [begin, end] = reach_of_damage(info, cols);
      for (std::int64_t i = 0; i < 16 * cols; ++i) {
        const bool damaged = i / cols == 3 && i % cols >= begin && i % cols < end;
        const auto at = static_cast<std::size_t>(i);
        REQUIRE((damaged ? std::isnan(back[at]) : back[at] == clean[at]));
      }
    }
  }
}

TEST_CASE("magnitudes at the ends of float32 are quantized without a NaN where they are finite") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr || find_encoding(ops.id)->k_multiple == 1) continue;
    CAPTURE(find_encoding(ops.id)->name);
    for (const float size : {1e-45f, 1e-38f, 1e-30f, 1e-20f, 1e-8f, 1e8f, 1e19f, 1e36f}) {
      CAPTURE(size);
      auto rows = test::gaussian(16 * 256, 9);
      for (float& x : rows) x *= size;
      const auto back = test::round_trip(ops, rows, 256);
      CHECK(std::none_of(back.begin(), back.end(), [](float v) { return std::isnan(v); }));
      // Native scales are float32 and follow the magnitude; GGUF's are float16.
      const bool native = ops.interleave_panel == nullptr;
      if (native && size >= 1e-20f) CHECK(test::relative_rmse(rows, back) < 0.17);
    }
  }
}

TEST_CASE("constant and single-valued groups are kept well") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.quantize_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    // QR3 has no multiple of 0: a rotated constant, one number among zeros, costs it half.
    const double bound = ops.id == Encoding::kQR3 ? 0.5 : 0.08;
    for (const float value : {1.0f, -0.37f}) {
      const std::vector<float> constant(16 * 256, value);
      CHECK(test::relative_rmse(constant, test::round_trip(ops, constant, 256)) < bound);
      std::vector<float> single(16 * 256, 0.0f);
      for (std::size_t i = 5; i < single.size(); i += 64) single[i] = value;
      CHECK(test::relative_rmse(single, test::round_trip(ops, single, 256)) < 0.08);
    }
  }
}

TEST_CASE("the sub-scale times code of QR4 is an exact int8") {
  const auto rows = test::student_t5(16 * 640, 10);
  const EncodingOps& ops = *find_ops(Encoding::kQR4);
  const EncodingInfo& info = *find_encoding(Encoding::kQR4);
  std::vector<std::byte> panel(test::panel_size(ops.id, 640));
  ops.quantize_panel(rows.data(), 640, {}, panel.data());
  std::vector<float> values(16 * 640), rotated(16 * 640);
  ops.dequantize_panel(panel.data(), 640, values.data());
  const std::byte* scales = panel.data() + stream_offset(info, 640, 2).value();
  const std::byte* subs = panel.data() + stream_offset(info, 640, 1).value();
  for (std::size_t row = 0; row < 16; ++row) {
    float scale = 0;
    std::copy_n(scales + 4 * row, 4, reinterpret_cast<std::byte*>(&scale));
    for (std::size_t k = 0; k < 640; ++k) {
      // From the specification of the panel, not from the code under test.
      const std::size_t in = k % 32, at = 256 * (k / 32) + 64 * (in % 16 / 4) + 4 * row + in % 4;
      const unsigned code = std::to_integer<unsigned>(panel[at]) >> (in < 16 ? 0 : 4) & 15u;
      const unsigned sub =
          std::to_integer<unsigned>(subs[16 * (k / 32) + row]) >> (in < 16 ? 0 : 4) & 15u;
      const int product = (static_cast<int>(code) - 8) * static_cast<int>(sub);
      REQUIRE(std::abs(product) <= 120);
      rotated[row * 640 + k] = static_cast<float>(product) * scale;
    }
    hadamard64(rotated.data() + row * 640, 640);
  }
  CHECK(rotated == values);
}

}  // namespace
}  // namespace quern::quant
