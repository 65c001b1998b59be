#include <doctest/doctest.h>

#include <bit>

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
