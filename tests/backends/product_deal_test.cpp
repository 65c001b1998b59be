// How threads share a product of many rows.
#include <doctest/doctest.h>

#include <vector>

#include "backends/cpu/product.h"

namespace quern::backends::cpu {
namespace {

Product product_of_panels(std::int64_t panels) {
  Product product{};
  product.weight.rows = panels * kernels::kPanelRows - 3;  // The last panel is not full.
  return product;
}

}  // namespace

TEST_CASE("a product's deal has every panel of every row once, and pieces of whole row tiles") {
  for (const std::int64_t panels : {1, 2, 5, 36, 97}) {
    for (const std::int64_t rows : {9, 31, 64, 100, 256, 257}) {
      for (const int threads : {1, 2, 3, 8}) {
        CAPTURE(panels);
        CAPTURE(rows);
        CAPTURE(threads);
        const Product product = product_of_panels(panels);
        const Product::Deal deal(product, product.panels_at_once(threads), rows, threads);
        std::vector<int> seen(static_cast<std::size_t>(panels * rows));
        for (std::int64_t i = 0; i < deal.count(); ++i) {
          const Product::Part part = deal.part(i);
          CHECK(part.row % (2 * kernels::kRowTile) == 0);
          CHECK(part.row < part.end_row);
          CHECK(part.panel < part.end_panel);
          for (std::int64_t panel = part.panel; panel < part.end_panel; ++panel)
            for (std::int64_t row = part.row; row < part.end_row; ++row)
              ++seen[static_cast<std::size_t>(panel * rows + row)];
        }
        CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
      }
    }
  }
}

TEST_CASE("the last parts of a deal are small, so that no thread is long alone") {
  const Product product = product_of_panels(96);
  const Product::Deal deal(product, 6, 256, 2);
  CHECK(deal.count() == 14 + 2 * 4);
  CHECK(deal.part(0).end_row == 256);
  CHECK(deal.part(13).end_row == 256);
  CHECK(deal.part(14).panel == 84);
  CHECK(deal.part(14).end_row == 64);
  CHECK(deal.part(21).end_panel == 96);
  CHECK(deal.part(21).row == 192);
  CHECK(Product::Deal(product, 12, 256, 1).count() == 8);  // One thread waits for nobody.
}

}  // namespace quern::backends::cpu
