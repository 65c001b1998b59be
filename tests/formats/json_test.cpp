#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "formats/byte_reader.h"
#include "formats/checkpoint_dir.h"
#include "formats/checksum.h"
#include "formats/json.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

namespace {
ErrorCode code_of(std::string_view text, const JsonLimits& limits = {}) {
  const auto json = parse_json(text, "j", limits);
  return json.ok() ? ErrorCode::kInternal : json.error().code;
}
}  // namespace

TEST_CASE("JSON keeps the order of keys and the kinds of numbers") {
  const auto json =
      parse_json(R"({"z":1,"a":[1.5,-2,18446744073709551615,true,null,"\u00e9"]})", "j");
  REQUIRE(json.ok());
  CHECK(dump_json(*json) == "{\"z\":1,\"a\":[1.5,-2,18446744073709551615,true,null,\"\xc3\xa9\"]}");
  CHECK(json->contains("z"));
  CHECK((*json)["a"].size() == 6);
}

TEST_CASE("JSON is written so that it reads back as the same value") {
  const std::pair<double, const char*> floats[] = {
      {1.0, "1.0"},       {0.1, "0.1"},        {-0.0, "-0.0"},
      {1e-5, "1e-05"},    {0.0001, "0.0001"},  {123456789012345.0, "123456789012345.0"},
      {1e15, "1e+15"},    {5e-324, "5e-324"},  {1.7976931348623157e308, "1.7976931348623157e+308"},
      {INFINITY, "null"}, {-INFINITY, "null"}, {NAN, "null"}};
  for (const auto& [value, text] : floats) CHECK(dump_json(value) == text);
  CHECK(dump_json("\b\t\n\f\r\"\\/\x01\x7f") == "\"\\b\\t\\n\\f\\r\\\"\\\\/\\u0001\x7f\"");
  CHECK(dump_json("a\xffz\xe2\x82") == "\"a\uFFFDz\uFFFD\uFFFD\"");
  CHECK(dump_json("\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80").size() == 2 + 9 * 3);
  const Json value{{"empty", Json::array()}, {"list", {1, -2, Json::object()}}, {"text", "é€𐀀"}};
  CHECK(
      dump_json(value, 2) ==
      "{\n  \"empty\": [],\n  \"list\": [\n    1,\n    -2,\n    {}\n  ],\n  \"text\": \"é€𐀀\"\n}");
  for (const int indent : {-1, 0, 4})
    CHECK(parse_json(dump_json(value, indent), "j").value() == value);
}

TEST_CASE("a JSON value answers for another type with nothing") {
  Json value{{"a", 1}, {"b", {true, nullptr}}};
  CHECK(value["b"].size() == 2);
  CHECK(std::as_const(value)["absent"].is_null());
  CHECK(value["b"][7].is_null());
  CHECK(value["a"].string().empty());
  CHECK(value["a"].elements().empty());
  CHECK_FALSE(value["a"].boolean());
  CHECK(value.integer() == 0);
  value["c"]["d"] = "added";
  value.erase("a");
  CHECK(dump_json(value) == R"({"b":[true,null],"c":{"d":"added"}})");
  CHECK(Json(-1) != Json(18446744073709551615u));
}

TEST_CASE("JSON that is not JSON is refused with an offset") {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":}",
                           "tru",
                           "01",
                           "1 2",
                           "'a'",
                           "\"\\ud800\"",
                           "\"\xff\"",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           "[1]x",
                           "NaN",
                           "Infinity",
                           "// c\n1",
                           "\xEF\xBB\xBF{}",
                           "\"a\nb\"",
                           "1e400",
                           "{\"a\":1,\"a\":2}",
                           "{\"b\":{\"a\":1,\"c\":0,\"a\":2}}"}) {
    CAPTURE(text);
    const auto json = parse_json(text, "j");
    REQUIRE_FALSE(json.ok());
    CHECK(json.error().code == ErrorCode::kMalformed);
    CHECK(json.error().offset.has_value());
    CHECK(json.error().file == "j");
  }
  CHECK(code_of(std::string_view("{}\0{}", 5)) == ErrorCode::kMalformed);
}

TEST_CASE("depth, size and number of JSON values are limited") {
  CHECK(code_of(std::string(64, '[') + std::string(64, ']')) == ErrorCode::kInternal);
  CHECK(code_of(std::string(65, '[') + std::string(65, ']')) == ErrorCode::kLimit);
  CHECK(code_of(std::string(1000000, '[')) == ErrorCode::kLimit);
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  CHECK(code_of(deep) == ErrorCode::kLimit);
  CHECK(code_of("[1,2,3]", {64, 7, 4}) == ErrorCode::kInternal);
  CHECK(code_of("[1,2,3]", {64, 6, 4}) == ErrorCode::kLimit);
  CHECK(code_of("[1,2,3]", {64, 7, 3}) == ErrorCode::kLimit);
}

TEST_CASE("an object with hundreds of thousands of keys is read in about linear time") {
  std::string text = "{";
  for (int i = 0; i < 300000; ++i)
    text += "\"key" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text += "\"last\":0}";
  const auto json = parse_json(text, "j");  // Minutes, were keys searched one by one.
  REQUIRE(json.ok());
  CHECK(json->size() == 300001);
}

TEST_CASE("Python's numbers are read where they are allowed, and only as values") {
  const auto json =
      parse_json(R"({"a":Infinity,"NaN":[-Infinity,NaN],"t":"NaN \" Infinity"})", "j", {}, true);
  REQUIRE(json.ok());
  CHECK(std::isinf((*json)["a"].number()));
  CHECK((*json)["NaN"][0].number() < 0);
  CHECK(std::isnan((*json)["NaN"][1].number()));
  CHECK((*json)["t"] == "NaN \" Infinity");
  CHECK_FALSE(parse_json("{NaN:1}", "j", {}, true).ok());
  CHECK_FALSE(parse_json("NaNa", "j", {}, true).ok());
}

TEST_CASE("a configuration is flattened to dotted keys") {
  const auto json = parse_json(R"({"a":{"b":1,"c":{"d":"x"}},"l":[1,2.5,"s",null],
      "m":[[1],[2]],"w":{"__float__":"-Infinity"},"n":null,"t":true})",
                               "j");
  REQUIRE(json.ok());
  const auto config = flatten_json(*json, "j");
  REQUIRE(config.ok());
  CHECK(config->integer("a.b").value() == 1);
  CHECK(config->string("a.c.d").value() == "x");
  CHECK(config->list("l").size() == 4);
  CHECK(config->string("m").value() == "[[1],[2]]");
  CHECK(std::isinf(config->number("w").value()));
  CHECK_FALSE(config->has("n"));
  CHECK(config->boolean("t").value());
  CHECK_FALSE(flatten_json(parse_json(R"({"a":{"b":1},"a.b":2})", "j").value(), "j").ok());
  CHECK_FALSE(flatten_json(parse_json("[1]", "j").value(), "j").ok());
  const auto again = flatten_json(config_to_json(*config), "j");
  REQUIRE(again.ok());
  CHECK(again->items().size() == config->items().size());
}

TEST_CASE("XXH64 agrees with the published values, however the bytes are split") {
  CHECK(xxh64({}) == 0xEF46DB3751D8E999u);
  CHECK(xxh64(as_bytes("a")) == 0xD24EC4F1A98C6E5Bu);
  CHECK(xxh64(as_bytes("abc")) == 0x44BC2CF5AD770999u);
  CHECK(xxh64(as_bytes("Nobody inspects the spammish repetition")) == 0xFBCEA83C8A378BF1u);
  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>(i * 37);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Xxh64 hash;
    hash.add(as_bytes(text).first(cut));
    hash.add(as_bytes(text).subspan(cut));
    CHECK(hash.digest() == xxh64(as_bytes(text)));
  }
}

TEST_CASE("a Hugging Face directory is opened with what it has") {
  const TempDir dir;
  CHECK(CheckpointDir::open(dir.path()).error().code == ErrorCode::kIo);
  dir.write("config.json", R"({"hidden_size":4,"rope":{"theta":Infinity}})");
  dir.write("pytorch_model.bin", "x");
  CHECK(CheckpointDir::open(dir.path()).error().code == ErrorCode::kUnsupported);
  dir.write("model.safetensors",
            safetensors_with(small_safetensors_header(), kSmallSafetensorsData));
  dir.write("tokenizer.json", "{}");
  const auto found = CheckpointDir::open(dir.path());
  REQUIRE(found.ok());
  CHECK(found->config.integer("hidden_size").value() == 4);
  CHECK(found->weights->tensors().size() == 2);
  CHECK(found->tokenizer_json == dir.file("tokenizer.json"));
  CHECK(found->vocab_txt.empty());
  CHECK(found->generation_json.is_null());
}
