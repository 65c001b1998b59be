#include <doctest/doctest.h>

#include <set>
#include <string>

#include "quern/encoding.h"

using namespace quern;

TEST_CASE("every encoding is found by its id and by its name, and both are unique") {
  std::set<std::string> names;
  int last = -1;
  for (const EncodingInfo* info = encodings_begin(); info != encodings_end(); ++info) {
    CHECK(find_encoding(info->id) == info);
    CHECK(find_encoding(info->name) == info);
    CHECK(names.insert(std::string(info->name)).second);
    CHECK(static_cast<int>(info->id) > last);
    last = static_cast<int>(info->id);
  }
  CHECK(names.size() == 24);
  CHECK(find_encoding(static_cast<Encoding>(6)) == nullptr);
  CHECK(find_encoding("q4") == nullptr);
}

TEST_CASE("panels hold as many bits as the encoding says, padded to 64 bytes a stream") {
  struct Row {
    const char* name;
    double bits;  ///< Per weight, without padding, for 16 rows of 4096.
  };
  const Row rows[] = {{"f32", 32},
                      {"f16", 16},
                      {"bf16", 16},
                      {"q4_0", 4.5},
                      {"q4_1", 5},
                      {"q5_0", 5.5},
                      {"q5_1", 6},
                      {"q8_0", 8.5},
                      {"q2_k", 2.625},
                      {"q3_k", 3.5625},
                      {"q4_k", 4.625},
                      {"q5_k", 5.625},
                      {"q6_k", 6.5625},
                      {"iq4_nl", 4.5},
                      {"iq4_xs", 4.3125},
                      {"mxfp4", 4.25},
                      {"qr8", 8 + 32.0 / 4096},
                      {"qr4", 4.25 + 32.0 / 4096},
                      {"qr3", 3.25 + 32.0 / 4096},
                      {"qr5", 5.25 + 32.0 / 4096},
                      {"qr6", 6.25 + 32.0 / 4096}};
  for (const Row& row : rows) {
    const EncodingInfo* info = find_encoding(row.name);
    REQUIRE(info != nullptr);
    CAPTURE(row.name);
    CHECK(panel_bytes(*info, 4096) == static_cast<std::uint64_t>(row.bits * 16 * 4096 / 8));
    CHECK(stream_offset(*info, 4096, 0) == 0);
    std::uint64_t before = 0;
    for (int i = 1; i < 4 && info->streams[static_cast<std::size_t>(i)].cell_bytes != 0; ++i) {
      const auto offset = stream_offset(*info, 4096, i);
      REQUIRE(offset.has_value());
      CHECK(*offset > before);
      CHECK(*offset % 64 == 0);
      before = *offset;
    }
    // Any width works: rows and columns are padded.
    for (const std::uint64_t cols : {1u, 31u, 33u, 257u}) {
      const auto panel = panel_bytes(*info, cols);
      REQUIRE(panel.has_value());
      CHECK(*panel % 64 == 0);
      CHECK(tensor_bytes(*info, Layout::kPanel16, 17, cols) == 2 * *panel);
    }
    CHECK_FALSE(tensor_bytes(*info, Layout::kPanel16, ~std::uint64_t{0}, 32).has_value());
    CHECK_FALSE(tensor_bytes(*info, Layout::kPanel16, 16, ~std::uint64_t{0}).has_value());
  }
}

TEST_CASE("plain tensors are floats and integers alone") {
  const auto plain = [](const char* name) {
    return tensor_bytes(*find_encoding(name), Layout::kPlain, 3, 5);
  };
  CHECK(plain("f32") == 60);
  CHECK(plain("f16") == 30);
  CHECK(plain("bf16") == 30);
  CHECK(plain("i32") == 60);
  CHECK(plain("i64") == 120);
  CHECK(plain("u8") == 15);
  CHECK_FALSE(plain("q8_0").has_value());
  CHECK_FALSE(plain("qr4").has_value());
  CHECK_FALSE(tensor_bytes(*find_encoding("i32"), Layout::kPanel16, 3, 5).has_value());
  CHECK_FALSE(tensor_bytes(*find_encoding("f32"), static_cast<Layout>(2), 3, 5).has_value());
}
