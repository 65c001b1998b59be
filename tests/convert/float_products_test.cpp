// Products by the engine's kernels against sums in double.
#include "convert/float_products.h"

#include <doctest/doctest.h>

#include <vector>

#include "fixtures.h"

namespace quern::convert::test {
namespace {

TEST_CASE("products with a blocked matrix add what plain sums add") {
  for (const std::int64_t n : {64, 192}) {
    CAPTURE(n);
    BlockedMatrix matrix(n);
    const std::vector<float> dense = weights(static_cast<std::size_t>(n * n), 1);
    std::copy(dense.begin(), dense.end(), matrix.rows());
    matrix.lay_out();
    CHECK(matrix.at(n - 1, 17) == dense[static_cast<std::size_t>((n - 1) * n + 17)]);
    const std::vector<float> x = weights(static_cast<std::size_t>(16 * n), 2);
    for (std::int64_t panel = 0; panel <= n / 16; panel += 3) {
      std::vector<float> y(static_cast<std::size_t>(16 * n), 1.0F);
      const std::int64_t block = n / 64 - 1;
      matrix.add_product(x.data() + block * 64, n, block, panel, y.data());
      for (std::int64_t r = 0; r < 16; ++r) {
        for (std::int64_t j = 0; j < n; ++j) {
          double sum = 1;
          for (std::int64_t k = block * 64; j >= 16 * panel && k < n; ++k) {
            sum += static_cast<double>(x[static_cast<std::size_t>(r * n + k)]) *
                   static_cast<double>(dense[static_cast<std::size_t>(k * n + j)]);
          }
          REQUIRE(static_cast<double>(y[static_cast<std::size_t>(r * n + j)]) ==
                  doctest::Approx(sum).epsilon(1e-5));
        }
      }
    }
  }
}

TEST_CASE("column products are those of plain sums, whoever adds them") {
  struct Row {
    std::int64_t n, cols;
  };
  for (const Row& row : {Row{1, 5}, Row{130, 40}, Row{300, 200}, Row{7, 257}}) {
    CAPTURE(row.n);
    CAPTURE(row.cols);
    const auto size = static_cast<std::size_t>(row.cols * row.cols);
    const std::vector<float> x = weights(static_cast<std::size_t>(row.n * row.cols), 3);
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      std::vector<float> sum(size);
      for (int thread = 0; thread < threads; ++thread) {
        ColumnProducts products(row.cols);
        products.add(x.data(), row.n, row.cols, thread, threads, sum.data());
      }
      if (first.empty()) first = sum;
      CHECK(sum == first);
    }
    for (std::int64_t i = 0; i < row.cols; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < row.n; ++k) {
          sum += static_cast<double>(x[static_cast<std::size_t>(k * row.cols + i)]) *
                 static_cast<double>(x[static_cast<std::size_t>(k * row.cols + j)]);
        }
        const auto found = static_cast<double>(first[static_cast<std::size_t>(i * row.cols + j)]);
        REQUIRE(found - sum == doctest::Approx(0).epsilon(1e-5));
      }
    }
  }
}

}  // namespace
}  // namespace quern::convert::test
