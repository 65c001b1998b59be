#include <doctest/doctest.h>

#include "formats/tokenizer_json.h"
#include "small_tokenizers.h"
#include "support/json_lists.h"
#include "text/tokenizer/image_builder.h"
#include "text/tokenizer/image_spec.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

using formats::Json;

void check_row(const text::Tokenizer& tokenizer, const Json& row, const std::string& where) {
  text::EncodeOptions options;
  options.add_special = row[1].boolean();
  options.parse_special = row[2].boolean();
  const auto ids = tokenizer.encode(row[0].string(), options);
  REQUIRE_MESSAGE(ids.ok(), where);
  CHECK_MESSAGE(Json(*ids) == row[3],
                where << " " << formats::dump_json(row[0]) << " got " << formats::dump_json(*ids));
  const auto want = testing::numbers_of<text::TokenId>(row[3]);
  CHECK_MESSAGE(tokenizer.decode(want, true) == row[4].string(), where);
  CHECK_MESSAGE(tokenizer.decode(want, false) == row[5].string(), where);
  for (const bool skip : {true, false}) {
    text::StreamDecoder stream(tokenizer, skip);
    std::string streamed;
    for (const text::TokenId id : want) streamed += stream.push(id);
    streamed += stream.flush();
    CHECK_MESSAGE(streamed == tokenizer.decode(want, skip), where);
  }
}

}  // namespace

TEST_CASE("every component gives the ids and texts of the tokenizers library") {
  const Json& pipelines = testing::pipeline_fixture()["pipelines"];
  REQUIRE(pipelines.size() > 50);
  for (std::size_t i = 0; i < pipelines.size(); ++i) {
    const auto image = testing::image_of(testing::pipeline_json(i));
    const auto tokenizer = text::Tokenizer::open(image, "small");
    REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.error().describe());
    for (const Json& row : pipelines[i]["cases"]) {
      check_row(*tokenizer, row, "pipeline " + std::to_string(i));
    }
  }
}

TEST_CASE("an image gives back the pipeline that it was compiled from") {
  for (std::size_t i = 0; i < testing::pipeline_fixture()["pipelines"].size(); ++i) {
    const auto image = testing::image_of(testing::pipeline_json(i));
    const auto spec = text::spec_of_image(std::span<const std::byte>(image));
    REQUIRE(spec.ok());
    const auto again = text::build_tokenizer_image(*spec);
    REQUIRE(again.ok());
    CHECK(*again == image);
  }
}

TEST_CASE("a component that is unknown is refused by name") {
  for (const char* stage : {"normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}) {
    Json json = testing::pipeline_json(0);
    json[stage] = Json{{"type", "Invented"}};
    const auto spec = formats::read_tokenizer_json(json, "small");
    REQUIRE(!spec.ok());
    CHECK(spec.error().code == ErrorCode::kUnsupported);
    CHECK(spec.error().found == "Invented");
    CHECK(spec.error().field == std::string(stage) + ".type");
  }
}

TEST_CASE("what the library makes nonsense of is refused") {
  const auto refuses = [](const Json& json, const std::string& field) {
    const auto spec = formats::read_tokenizer_json(json, "small");
    Error found;
    if (!spec.ok()) {
      found = spec.error();
    } else {
      const auto image = text::build_tokenizer_image(*spec);
      REQUIRE(!image.ok());
      found = image.error();
    }
    CHECK(found.code == ErrorCode::kUnsupported);
    CHECK(found.field == field);
  };
  Json json = testing::pipeline_json(0);
  json["normalizer"] = Json{{"type", "Prepend"}, {"prepend", ""}};
  refuses(json, "normalizer.prepend");
  json = testing::model_json("bpe", Json{{"type", "Split"},
                                         {"pattern", {{"Regex", "\\X"}}},
                                         {"behavior", "Isolated"},
                                         {"invert", false}});
  refuses(json, "pattern");
  json = testing::pipeline_json(0);
  json["normalizer"] = Json{{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  Json token = *json["added_tokens"].begin();
  token["content"] = "  ";
  token["normalized"] = true;
  json["added_tokens"].push_back(token);
  refuses(json, "added_tokens[" + std::to_string(json["added_tokens"].size() - 1) + "]");
}

/// The values that hold no others; of a long list or object only some.
std::vector<Json*> leaves(Json& json) {
  std::vector<Json*> found;
  const auto add = [&](Json& value) {
    const auto inner = leaves(value);
    found.insert(found.end(), inner.begin(), inner.end());
  };
  constexpr std::size_t kSome = 16;
  for (Json& element : json.elements().first(std::min(kSome, json.elements().size()))) add(element);
  for (auto& member : json.items().first(std::min(kSome, json.items().size()))) add(member.value);
  if (json.empty()) found.push_back(&json);
  return found;
}

TEST_CASE("every field of another type is a typed error") {
  const Json whole = testing::pipeline_json(9);
  Json counted = whole;
  const std::size_t places = leaves(counted).size();
  CHECK(places > 30);
  for (std::size_t place = 0; place < places; ++place) {
    for (const Json& wrong :
         {Json(-7), Json("?"), Json::array({1}), Json::object(), Json(1e300), Json(true)}) {
      Json json = whole;
      *leaves(json)[place] = wrong;
      const auto spec = formats::read_tokenizer_json(json, "small");
      if (!spec.ok()) {
        CHECK(spec.error().code != ErrorCode::kInternal);
        continue;
      }
      const auto image = text::build_tokenizer_image(*spec);
      if (image.ok()) CHECK(text::Tokenizer::open(*image, "small").ok());
    }
  }
}

TEST_CASE("patterns that do not compile are refused") {
  for (const char* pattern : {"(", "[a", "a)", "\\", "(?<n>a", "[z-a]"}) {
    Json json = testing::model_json("bpe", Json{{"type", "Split"},
                                                {"pattern", {{"Regex", pattern}}},
                                                {"behavior", "Isolated"},
                                                {"invert", false}});
    const auto spec = formats::read_tokenizer_json(json, "small");
    REQUIRE(spec.ok());
    const auto image = text::build_tokenizer_image(*spec);
    REQUIRE_MESSAGE(!image.ok(), pattern);
    CHECK(image.error().code == ErrorCode::kMalformed);
  }
}

}  // namespace quern
