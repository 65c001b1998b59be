#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "quant/registry.h"

namespace quern::quant {
namespace {

/// binary16 by its definition in the standard, in double arithmetic.
double f16_by_definition(std::uint32_t bits) {
  const double sign = (bits & 0x8000u) != 0 ? -1 : 1;
  const int exponent = static_cast<int>((bits >> 10) & 31u);
  const double fraction = static_cast<double>(bits & 1023u);
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  if (exponent == 31) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST_CASE("every float16 widens to its value and comes back with the same bits") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(bits));
    const double expected = f16_by_definition(bits);
    REQUIRE((std::isnan(expected) ? std::isnan(value) : static_cast<double>(value) == expected));
    REQUIRE(std::signbit(value) == ((bits & 0x8000u) != 0));
    REQUIRE(f32_to_f16(value) == bits);
  }
}

TEST_CASE("every bfloat16 widens to its value and comes back with the same bits") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = bf16_to_f32(static_cast<std::uint16_t>(bits));
    REQUIRE(std::bit_cast<std::uint32_t>(value) == bits << 16);
    REQUIRE(f32_to_bf16(value) == bits);
  }
}

TEST_CASE("between two float16 the nearer one is chosen, and the even one in the middle") {
  for (std::uint32_t low = 0; low < 0x7c00; ++low) {
    const double a = f16_by_definition(low);
    const double b = low + 1 == 0x7c00 ? 65536.0 : f16_by_definition(low + 1);
    const auto middle = static_cast<float>((a + b) / 2);  // exact: one bit more than binary16
    const std::uint32_t even = low % 2 == 0 ? low : low + 1;
    REQUIRE(f32_to_f16(middle) == even);
    REQUIRE(f32_to_f16(-middle) == (even | 0x8000u));
    REQUIRE(f32_to_f16(std::nextafter(middle, 0.0f)) == low);
    REQUIRE(f32_to_f16(std::nextafter(middle, 1e9f)) == low + 1);
  }
}

TEST_CASE("between two bfloat16 the nearer one is chosen, and the even one in the middle") {
  for (std::uint32_t low = 0; low < 0x7f80; ++low) {
    const std::uint32_t middle = low << 16 | 0x8000u;
    const std::uint32_t even = low % 2 == 0 ? low : low + 1;
    REQUIRE(f32_to_bf16(std::bit_cast<float>(middle)) == even);
    REQUIRE(f32_to_bf16(std::bit_cast<float>(middle - 1)) == low);
    REQUIRE(f32_to_bf16(std::bit_cast<float>(middle + 1)) == low + 1);
    REQUIRE(f32_to_bf16(std::bit_cast<float>(middle | 0x80000000u)) == (even | 0x8000u));
  }
}

TEST_CASE("NaN with a payload in the lost bits alone stays NaN") {
  const float nan = std::bit_cast<float>(0x7f800001u);
  CHECK(std::isnan(f16_to_f32(f32_to_f16(nan))));
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(nan))));
}

TEST_CASE("numbers beyond float16 become infinite, numbers below it zero with their sign") {
  CHECK(f32_to_f16(1e30f) == 0x7c00);
  CHECK(f32_to_f16(-1e30f) == 0xfc00);
  CHECK(f32_to_f16(-1e-30f) == 0x8000);
  CHECK(f32_to_f16(std::numeric_limits<float>::denorm_min()) == 0);
}

}  // namespace
}  // namespace quern::quant
