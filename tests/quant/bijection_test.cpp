// Table-driven: a new row of the registry is tested by existing.

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "panel_support.h"

namespace quern::quant {
namespace {

constexpr std::size_t kRowCounts[] = {1, 7, 15, 16};
constexpr std::int64_t kWidths[] = {1, 31, 32, 33, 64, 65, 96, 100, 256, 288, 512, 768};

/// The foreign widths of one encoding among kWidths, with at least its smallest.
std::vector<std::int64_t> foreign_widths(const EncodingOps& ops) {
  std::vector<std::int64_t> widths;
  for (const auto cols : kWidths) {
    if (ops.foreign_row_bytes != nullptr && ops.foreign_row_bytes(cols) != 0)
      widths.push_back(cols);
  }
  return widths;
}

/// Interleaves `rows` rows of random bytes, takes them back and compares.
void check_bijection(const EncodingOps& ops, std::int64_t cols, std::size_t rows,
                     std::uint32_t seed) {
  const std::size_t row_bytes = ops.foreign_row_bytes(cols);
  const auto source = test::random_bytes(row_bytes * rows, seed);
  // Guards after the panel and after every row find writes beyond the end.
  std::vector<std::byte> panel(test::panel_size(ops.id, cols) + 64, std::byte{0xa5});
  std::vector<std::vector<std::byte>> back(rows, std::vector(row_bytes + 8, std::byte{0x5a}));
  const std::byte* from[16] = {};
  std::byte* to[16] = {};
  for (std::size_t r = 0; r < rows; ++r) {
    from[r] = source.data() + r * row_bytes;
    to[r] = back[r].data();
  }
  ops.interleave_panel(from, cols, panel.data());
  CHECK(std::all_of(panel.end() - 64, panel.end(), [](auto b) { return b == std::byte{0xa5}; }));
  ops.deinterleave_panel(panel.data(), cols, to);
  for (std::size_t r = 0; r < rows; ++r) {
    REQUIRE(std::equal(from[r], from[r] + row_bytes, back[r].begin()));
    REQUIRE(
        std::all_of(back[r].end() - 8, back[r].end(), [](auto b) { return b == std::byte{0x5a}; }));
  }
}

TEST_CASE("interleaving keeps every bit of any bytes, at every width and number of rows") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.interleave_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    const auto widths = foreign_widths(ops);
    REQUIRE(!widths.empty());
    std::uint32_t seed = 1;
    for (const auto cols : widths) {
      for (const std::size_t rows : kRowCounts) check_bijection(ops, cols, rows, seed++);
    }
  }
}

TEST_CASE(
    "every bit of a foreign block moves some bit of the panel, and no other bit moves twice") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.interleave_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    const std::int64_t cols = find_encoding(ops.id)->k_multiple;
    const std::size_t row_bytes = ops.foreign_row_bytes(cols);
    std::vector<std::byte> row(row_bytes), zero(test::panel_size(ops.id, cols)), panel(zero.size());
    const std::byte* rows[16] = {};
    rows[5] = row.data();
    ops.interleave_panel(rows, cols, zero.data());
    std::set<std::size_t> moved;
    for (std::size_t bit = 0; bit < 8 * row_bytes; ++bit) {
      row[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      ops.interleave_panel(rows, cols, panel.data());
      row[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      std::size_t changes = 0;
      for (std::size_t at = 0; at < panel.size(); ++at) {
        const auto difference = std::to_integer<unsigned>(panel[at] ^ zero[at]);
        for (unsigned b = 0; b < 8; ++b) {
          if ((difference >> b & 1u) == 0) continue;
          ++changes;
          moved.insert(8 * at + b);
        }
      }
      REQUIRE(changes >= 1);
    }
    CHECK(moved.size() >= 8 * row_bytes);
  }
}

TEST_CASE("rows beyond the matrix read as zeros and leave the others alone") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.interleave_panel == nullptr) continue;
    CAPTURE(find_encoding(ops.id)->name);
    const std::int64_t cols = 256;
    const auto row = test::random_bytes(ops.foreign_row_bytes(cols), 5);
    std::vector<std::byte> panel(test::panel_size(ops.id, cols));
    std::vector<float> values(16 * 256);
    const std::byte* rows[16] = {row.data()};
    ops.interleave_panel(rows, cols, panel.data());
    ops.dequantize_panel(panel.data(), cols, values.data());
    CHECK(std::all_of(values.begin() + 256, values.end(), [](float v) { return v == 0; }));
    CHECK(std::any_of(values.begin(), values.begin() + 256, [](float v) { return v != 0; }));
  }
}

TEST_CASE("widths that are no whole number of blocks have no foreign rows") {
  for (const EncodingOps& ops : all_ops()) {
    if (ops.interleave_panel == nullptr) continue;
    const std::int64_t multiple = find_encoding(ops.id)->k_multiple;
    if (multiple > 1) CHECK(ops.foreign_row_bytes(multiple + 1) == 0);
  }
}

TEST_CASE("the registry has every weight encoding once, and finds it") {
  std::set<Encoding> seen;
  for (const EncodingOps& ops : all_ops()) {
    CHECK(seen.insert(ops.id).second);
    CHECK(find_ops(ops.id) == &ops);
    CHECK((ops.dequantize_panel != nullptr));
    CHECK((ops.interleave_panel == nullptr) == (ops.deinterleave_panel == nullptr));
    const bool foreign = ops.foreign_row_bytes(find_encoding(ops.id)->k_multiple) != 0;
    CHECK((ops.interleave_panel != nullptr) == foreign);
  }
  for (auto info = encodings_begin(); info != encodings_end(); ++info) {
    CAPTURE(info->name);
    CHECK((find_ops(info->id) != nullptr) == info->weight);
  }
  CHECK(find_ops(Encoding::kI32) == nullptr);
  CHECK(find_ops(static_cast<Encoding>(99)) == nullptr);
}

}  // namespace
}  // namespace quern::quant
