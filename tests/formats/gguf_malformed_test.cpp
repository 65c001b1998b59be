#include <string>

#include "malformed.h"
#include "support/small_files.h"

using namespace quern;
using namespace quern::testing;
using formats::GgufFile;

TEST_CASE("every byte before the tensor data of the small GGUF file belongs to a listed field") {
  const SmallGguf small = small_gguf();
  std::size_t covered = small.front.text_bytes;
  for (const Field& field : small.front.fields) covered += field.bytes;
  CHECK(covered == small.data_offset);
  CHECK(judge<GgufFile>(small.bytes).accepted);
}

TEST_CASE("a GGUF file cut anywhere before the end of its tensor data is refused") {
  const SmallGguf small = small_gguf();
  for (std::size_t n = 0; n < small.bytes.size(); ++n) {
    const Verdict verdict = judge<GgufFile>(std::string_view(small.bytes).substr(0, n));
    CAPTURE(n);
    CHECK(verdict.accepted == (n >= small.data_end));
  }
}

TEST_CASE("every integer of a GGUF file at every extreme gives a typed error or a sound file") {
  const SmallGguf small = small_gguf();
  std::size_t refused = 0, cases = 0;
  for (const Field& field : small.front.fields) {
    for (const std::uint64_t value : extremes(small.bytes.size() - field.offset - field.bytes)) {
      for (const bool swapped : {false, true}) {
        const std::string bytes =
            with_field(small.bytes, field.offset, field.bytes, value, swapped);
        const Verdict verdict = judge<GgufFile>(bytes);
        refused += !verdict.accepted;
        ++cases;
        // A structural number that differs from the right one must be refused; types of equal size
        // (u32 for i32) are as well-formed as before.
        // A tensor may also claim padding behind it: GGUF cannot tell them apart.
        const bool in_padding = field.name.find("extent of") != std::string::npos && value <= 64;
        const bool may_pass = field.is_value || bytes == small.bytes || in_padding ||
                              field.name.find("type of") != std::string::npos ||
                              field.name == "version";
        CAPTURE(field.name);
        CAPTURE(value);
        if (!may_pass) CHECK_FALSE(verdict.accepted);
      }
    }
  }
  MESSAGE(cases << " cases, " << refused << " refused");
  CHECK(refused > cases / 2);
}

TEST_CASE("every pair of a tensor's dimensions whose product wraps is refused") {
  const SmallGguf small = small_gguf();
  std::vector<const Field*> extents;
  for (const Field& field : small.front.fields) {
    if (field.name == "extent of c.weight") extents.push_back(&field);
  }
  REQUIRE(extents.size() == 3);
  for (const std::uint64_t a : extremes(64)) {
    for (const std::uint64_t b : extremes(64)) {
      std::string bytes = with_field(small.bytes, extents[0]->offset, 8, a);
      bytes = with_field(std::move(bytes), extents[1]->offset, 8, b);
      // The third dimension stays 2: four bytes times a times b, and 64 with the padding.
      CAPTURE(a);
      CAPTURE(b);
      CHECK(judge<GgufFile>(bytes).accepted == (a <= 16 && b <= 16 && a * b != 0 && a * b <= 16));
    }
  }
}

TEST_CASE("every flipped bit before the tensor data gives a typed error or a sound file") {
  const SmallGguf small = small_gguf();
  for (std::size_t bit = 0; bit < 8 * small.data_offset; ++bit) {
    std::string bytes = small.bytes;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    judge<GgufFile>(bytes);
  }
}
