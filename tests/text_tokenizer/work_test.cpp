#include <doctest/doctest.h>

#include "small_tokenizers.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

using formats::Json;

std::string repeat(const std::string& unit, std::size_t n) {
  std::string out;
  out.reserve(unit.size() * n);
  for (std::size_t i = 0; i < n; ++i) out += unit;
  return out;
}

const char* const kUnits[] = {
    "A", "a", " ", "\n", "1", "\u6f22", "\u0301", "ab", "\xF0\x9F\x98\x80"};

Json split(const char* pattern) {
  return Json{{"type", "Split"},
              {"pattern", {{"Regex", pattern}}},
              {"behavior", "Isolated"},
              {"invert", false}};
}

/// Pre-tokenizers whose matching could be quadratic.
std::vector<Json> pre_tokenizers() {
  return {Json(),
          Json{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}},
          split("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}"
                "\\p{M}]+|"
                "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}"
                "\\p{M}]*|"
                "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
          split("\\s+$"),
          split("(?=(\\d{3})+(?!\\d))"),
          split("\\d{1,3}(?=(?:\\d{3})*\\b)"),
          Json{{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}}};
}

}  // namespace

TEST_CASE("work grows with the text and not with its square, for every model") {
  constexpr std::size_t kSmall = 20000, kFactor = 8;
  for (const char* model : {"bpe", "clip", "wordpiece", "wordlevel", "unigram", "unigram-bytes"}) {
    for (const Json& pre : pre_tokenizers()) {
      const auto image = testing::image_of(testing::model_json(model, pre));
      const auto tokenizer = text::Tokenizer::open(image, model);
      REQUIRE(tokenizer.ok());
      for (const char* unit : kUnits) {
        text::EncodeWork small, large;
        text::EncodeOptions options;
        options.work = &small;
        REQUIRE(tokenizer->encode(repeat(unit, kSmall), options).ok());
        options.work = &large;
        REQUIRE(tokenizer->encode(repeat(unit, kSmall * kFactor), options).ok());
        CHECK_MESSAGE(large.total() <= 2 * kFactor * small.total() + 1000, model << " " << unit);
        CHECK_MESSAGE(large.total() <= 200 * kSmall * kFactor, model << " " << unit);
      }
    }
  }
}

TEST_CASE("a million equal characters are encoded by every model and decoded again") {
  for (const char* model : {"bpe", "unigram-bytes"}) {
    const auto image = testing::image_of(testing::model_json(model, Json()));
    const auto tokenizer = text::Tokenizer::open(image, model);
    REQUIRE(tokenizer.ok());
    text::EncodeOptions options;
    options.add_special = false;
    for (const char* unit : {"A", " ", "\u6f22"}) {
      const auto ids = tokenizer->encode(repeat(unit, 1000000), options);
      REQUIRE_MESSAGE(ids.ok(), ids.error().describe());
      CHECK(ids->size() > 0);
    }
  }
}

TEST_CASE("white space before a last word does not make a pattern fail") {
  const auto image = testing::image_of(testing::model_json("bpe", pre_tokenizers()[1]));
  const auto tokenizer = text::Tokenizer::open(image, "bpe");
  REQUIRE(tokenizer.ok());
  for (const char* end : {"", "x", "\n", "\nx"}) {
    CHECK(tokenizer->encode(repeat(" ", 3000000) + end).ok());
  }
}

}  // namespace quern
