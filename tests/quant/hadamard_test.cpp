#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "panel_support.h"

namespace quern::quant {
namespace {

TEST_CASE("the Hadamard rotation is the Sylvester matrix divided by eight") {
  for (unsigned column = 0; column < 64; ++column) {
    float x[64] = {};
    x[column] = 1.0f;
    hadamard64(x, 64);
    for (unsigned row = 0; row < 64; ++row) {
      const float sign = std::popcount(row & column) % 2 == 0 ? 1.0f : -1.0f;
      REQUIRE(x[row] == sign * 0.125f);
    }
  }
}

TEST_CASE("the Hadamard rotation is its own inverse and keeps the length of a vector") {
  const auto x = test::gaussian(64 * 9, 1);
  auto y = x;
  hadamard64(y.data(), 64 * 9);
  double before = 0, after = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    before += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    after += static_cast<double>(y[i]) * static_cast<double>(y[i]);
  }
  CHECK(after == doctest::Approx(before).epsilon(1e-6));
  hadamard64(y.data(), 64 * 9);
  CHECK(test::relative_rmse(x, y) < 2e-7);
}

TEST_CASE("a vector of any length is rotated by blocks of 64, 32 and 16") {
  for (const std::int64_t n : {0, 7, 16, 24, 40, 48, 63, 64, 80, 112, 120, 200}) {
    CAPTURE(n);
    const auto x = test::gaussian(static_cast<std::size_t>(n), 3);
    auto y = x;
    hadamard_vector(y.data(), n);
    std::int64_t at = 0;
    for (const std::int64_t size : {64, 64, 64, 32, 16}) {
      if (at + size > n) continue;
      for (std::int64_t row = 0; row < size; ++row) {
        double sum = 0;
        for (std::int64_t column = 0; column < size; ++column) {
          const int odd = std::popcount(static_cast<unsigned>(row & column)) % 2;
          sum += (odd != 0 ? -1.0 : 1.0) *
                 static_cast<double>(x[static_cast<std::size_t>(at + column)]);
        }
        REQUIRE(static_cast<double>(y[static_cast<std::size_t>(at + row)]) ==
                doctest::Approx(sum / std::sqrt(static_cast<double>(size))).epsilon(1e-4));
      }
      at += size;
    }
    for (; at < n; ++at)
      REQUIRE(y[static_cast<std::size_t>(at)] == x[static_cast<std::size_t>(at)]);
  }
}

TEST_CASE("integers survive the Hadamard rotation exactly") {
  std::vector<float> x(128);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 37) % 101) - 50.0f;
  auto y = x;
  hadamard64(y.data(), 128);
  hadamard64(y.data(), 128);
  CHECK(x == y);
}

TEST_CASE("blocks of 64 are rotated independently and an empty row is left alone") {
  auto x = test::gaussian(128, 2);
  auto first = std::vector<float>(x.begin(), x.begin() + 64);
  hadamard64(x.data(), 128);
  hadamard64(first.data(), 64);
  CHECK(std::equal(first.begin(), first.end(), x.begin()));
  hadamard64(nullptr, 0);
}

}  // namespace
}  // namespace quern::quant
