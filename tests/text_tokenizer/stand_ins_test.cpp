// Characters of Unicode 15 and 16 in patterns; the expected matches are the tokenizers library's.
#include <doctest/doctest.h>

#include "text/tokenizer/regex.h"
#include "text/tokenizer/stand_ins.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

std::string matches(const char* pattern, std::string_view text) {
  const auto regex = text::Regex::compile(pattern);
  REQUIRE(regex.ok());
  std::vector<text::ByteRange> ranges;
  REQUIRE(regex->find_all(text, ranges).ok());
  std::string out;
  for (const auto& range : ranges)
    out +=
        (out.empty() ? "" : "|") + std::string(text.substr(range.begin, range.end - range.begin));
  return out;
}

TEST_CASE("patterns know the characters that are younger than PCRE2") {
  // A Cyrillic letter, an ideograph and a Garay capital; a digit; an emoji; a mark.
  const std::string_view text = "a\u1C8A\U0002EBF0 b\U0001E4F0\U00010D50\U0001FAE8c\u0897!";
  CHECK(matches("\\p{L}+", text) == "a\u1C8A\U0002EBF0|b|\U00010D50|c");
  CHECK(matches("\\p{N}", text) == "\U0001E4F0");
  CHECK(matches("\\p{Lu}|\\p{Ll}", text) == "a|\u1C8A|b|\U00010D50|c");
  CHECK(matches("\\p{Han}", text) == "\U0002EBF0");
  CHECK(matches("[\\p{P}\\p{S}]", text) == "\U0001FAE8|!");
  CHECK(matches("[\\p{L}\\p{M}]+", text) == "a\u1C8A\U0002EBF0|b|\U00010D50|c\u0897");
  CHECK(matches(" ?[^\\s\\p{L}\\p{N}]+", text) == "\U0001FAE8|\u0897!");
}

TEST_CASE("a stand-in takes as many bytes, and a text without young characters is not copied") {
  std::string buffer;
  const std::string_view old = "Grüße, 世界 🌍 𐐀";
  CHECK(text::with_stand_ins(old, buffer).data() == old.data());
  for (char32_t c = 0x800; c < 0x110000; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string one;
    text::append_char(one, c);
    if (text::with_stand_ins(one, buffer).size() != one.size()) FAIL("U+" << c);
  }
}

}  // namespace
}  // namespace quern
