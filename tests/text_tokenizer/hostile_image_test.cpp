#include <doctest/doctest.h>

#include <cstring>

#include "small_tokenizers.h"
#include "text/tokenizer/image_spec.h"
#include "text/tokenizer/step.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

using formats::Json;

/// Opens bytes and, where that succeeds, does everything with them that a program does.
void use(std::span<const std::byte> bytes) {
  const auto tokenizer = text::Tokenizer::open(bytes, "hostile");
  if (!tokenizer.ok()) {
    CHECK(tokenizer.error().code != ErrorCode::kInternal);
    return;
  }
  for (const char* sample :
       {"hello ab</s> 1234 [X] foo [Y] x", "\xE2\x96\x81 \xC3\xA9\xF0\x9F\x98\x80<0x41>aaaa"}) {
    const auto ids = tokenizer->encode(sample);
    if (ids.ok()) (void)tokenizer->decode(*ids, false);
  }
  std::vector<text::TokenId> all;
  const auto n = static_cast<text::TokenId>(std::min<std::size_t>(tokenizer->vocab_size(), 400));
  for (text::TokenId id = -2; id < n + 2; ++id) all.push_back(id);
  text::StreamDecoder stream(*tokenizer, true);
  for (const text::TokenId id : all) (void)stream.push(id);
  (void)stream.flush();
  (void)tokenizer->find("hello");
  (void)text::spec_of_image(tokenizer->image());
}

std::vector<std::vector<std::byte>> images() {
  const Json metaspace =
      Json{{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}};
  const Json words = Json{{"type", "Whitespace"}};
  return {testing::image_of(testing::model_json("clip", words)),
          testing::image_of(testing::model_json("wordpiece", words)),
          testing::image_of(testing::model_json("unigram", metaspace))};
}

}  // namespace

TEST_CASE("every truncation of an image is a typed error") {
  for (const auto& image : images()) {
    for (std::size_t size = 0; size < image.size(); ++size) {
      // A copy of its own, so that a sanitizer sees every byte read beyond the end.
      const std::vector<std::byte> cut(image.begin(),
                                       image.begin() + static_cast<std::ptrdiff_t>(size));
      const auto tokenizer = text::Tokenizer::open(cut, "cut");
      REQUIRE(!tokenizer.ok());
      CHECK(tokenizer.error().code == ErrorCode::kTruncated);
      CHECK(tokenizer.error().file == "cut");
    }
  }
}

TEST_CASE("every header field at its extremes leaves the process alive") {
  for (const auto& image : images()) {
    for (std::size_t at = 0; at + 4 <= text::image::kHeaderBytes; at += 4) {
      for (const std::uint32_t value :
           {0u, 1u, 2u, 63u, 0xffu, 0xffffu, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu,
            static_cast<std::uint32_t>(image.size()),
            static_cast<std::uint32_t>(image.size() - 1)}) {
        std::vector<std::byte> changed = image;
        std::memcpy(changed.data() + at, &value, 4);
        use(changed);
      }
    }
  }
}

TEST_CASE("every flipped bit leaves the process alive") {
  for (const auto& image : images()) {
    std::vector<std::byte> changed = image;
    for (std::size_t at = 0; at < image.size(); ++at) {
      for (const unsigned bit : {0u, 3u, 7u}) {
        changed[at] ^= static_cast<std::byte>(1u << bit);
        use(changed);
        changed[at] = image[at];
      }
    }
  }
}

TEST_CASE("a hostile character map is read within its bounds") {
  std::uint32_t seed = 1;
  for (int round = 0; round < 300; ++round) {
    std::string map(4 + 64 + 16, '\0');
    for (char& c : map) c = static_cast<char>((seed = seed * 1664525u + 1013904223u) >> 24);
    const std::uint32_t units = 64;
    std::memcpy(map.data(), &units, 4);
    formats::TokenizerStep step;
    step.kind = formats::StepKind::kPrecompiled;
    step.text = map;
    std::string text = "abc \xC3\xA9 xyz\xE2\x82\xAC";
    bool at_origin = true;
    const auto made = text::make_step({step.kind, 0, 0, 0, step.text, {}}, "map");
    REQUIRE(made.ok());
    CHECK(text::find_normalizer(step.kind)(*made, text, at_origin).ok());
  }
}

}  // namespace quern
