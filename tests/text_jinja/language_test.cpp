// The language: what jinja2 3.1.6 renders, recorded in language_cases.json, and the positions of
// errors.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "text_jinja/template_support.h"

using namespace quern;
using formats::Json;

TEST_CASE("expressions and statements render as jinja2 renders them") {
  const std::filesystem::path path =
      std::filesystem::path(QUERN_SOURCE_DIR) / "tests/text_jinja/language_cases.json";
  const Json recorded = test::read_json(path);
  std::size_t cases = 0;
  for (const auto& each : recorded["cases"]) {
    const std::string source = each[0].string();
    CAPTURE(source);
    const auto rendered = test::render(source, recorded["variables"]);
    ++cases;
    if (each[1].is_null()) {
      CHECK_FALSE(rendered.ok());
      continue;
    }
    REQUIRE_MESSAGE(rendered.ok(), rendered.error().describe());
    CHECK(rendered->text == each[1].string());
    test::check_spans(*rendered);
  }
  CHECK(cases > 1000);
}

TEST_CASE("an error names the template, the line and the column") {
  struct Row {
    const char* source;
    ErrorCode code;
    const char* place;
  };
  const Row rows[] = {
      {"{% include 'x' %}", ErrorCode::kUnsupported, "line 1, column 4"},
      {"{% extends 'x' %}", ErrorCode::kUnsupported, "line 1, column 4"},
      {"a\n{% import 'x' as y %}", ErrorCode::kUnsupported, "line 2, column 4"},
      {"a\nb {{ s|nosuchfilter }}", ErrorCode::kUnsupported, "line 2, column 8"},
      {"{% if 1 %}\n{{ s|nosuchfilter }}{% endif %}", ErrorCode::kUnsupported, "line 2, column 6"},
      {"{{ 1 is nosuchtest }}", ErrorCode::kUnsupported, "line 1, column 6"},
      {"{{ é }} {{ x.y }}", ErrorCode::kInvalidArgument, "line 1, column 13"},
      {"\n\n  {{ 1 + }}", ErrorCode::kMalformed, "line 3, column 10"},
      {"{% for %}", ErrorCode::kMalformed, "line 1, column 8"},
      {"{% if 1 %}", ErrorCode::kMalformed, "line 1, column 11"},
      {"{{ 'a }}", ErrorCode::kMalformed, "line 1, column 4"},
      {"{{ 1 ? 2 }}", ErrorCode::kMalformed, "line 1, column 6"},
      {"{{ 9223372036854775808 }}", ErrorCode::kOutOfRange, "line 1, column 4"},
      {"{{ 9223372036854775807 + 1 }}", ErrorCode::kOutOfRange, "line 1, column 24"},
      {"{{ [1]|map('string') }}", ErrorCode::kUnsupported, "line 1, column 1"},
      {"{{ [1].append(2) }}", ErrorCode::kInvalidArgument, "line 1, column 14"},
      {"{{ 'a'.__class__.__mro__ }}", ErrorCode::kInvalidArgument, "line 1, column 17"},
      {"{{ '\\N{BULLET}' }}", ErrorCode::kUnsupported, "line 1, column 4"},
      {"x {% break %}", ErrorCode::kMalformed, "line 1, column 6"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.source);
    const auto rendered = test::render(row.source);
    REQUIRE_FALSE(rendered.ok());
    CHECK(rendered.error().code == row.code);
    CHECK(rendered.error().field == row.place);
    CHECK(rendered.error().file == "test");
  }
}

TEST_CASE("raise_exception carries the template's words exactly") {
  const auto rendered = test::render("a{{ raise_exception('Roles must ' ~ 'alternate: \"x\"') }}");
  REQUIRE_FALSE(rendered.ok());
  CHECK(rendered.error().code == ErrorCode::kTemplateRaised);
  CHECK(rendered.error().message == "Roles must alternate: \"x\"");
}

TEST_CASE("tools and documents are none where absent, other names undefined") {
  CHECK(test::render_text("{{ tools is none }} {{ documents is none }} {{ other is defined }}") ==
        "True True False");
  CHECK(test::render_text("{{ tools|length }}", {{"tools", {1, 2}}}) == "2");
}

TEST_CASE("the variables of the caller override the special tokens and lose their trust") {
  const auto chat = text::ChatTemplate::parse("{{ bos_token }}{{ pad_token }}{{ eos_token }}");
  REQUIRE(chat.ok());
  text::RenderOptions options;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  options.special_tokens["pad_token"] = "<pad>";
  const auto plain = chat->render(Json::object(), options);
  REQUIRE(plain.ok());
  CHECK(plain->text == "<s><pad></s>");
  REQUIRE(plain->spans.size() == 1);
  CHECK(plain->spans[0].trusted);
  const auto changed = chat->render({{"bos_token", "<x>"}}, options);
  REQUIRE(changed.ok());
  CHECK(changed->text == "<x><pad></s>");
  REQUIRE(changed->spans.size() == 2);
  CHECK_FALSE(changed->spans[0].trusted);
}

TEST_CASE("variables that are no object and integers beyond 64 bits are refused") {
  const auto chat = text::ChatTemplate::parse("x");
  REQUIRE(chat.ok());
  CHECK(chat->render(Json::array()).error().code == ErrorCode::kInvalidArgument);
  const Json huge = {{"n", 18446744073709551615ull}};
  CHECK(chat->render(huge).error().code == ErrorCode::kOutOfRange);
}
