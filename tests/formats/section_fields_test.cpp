// Typed access to a section's JSON: what is wrong is named, with the kind of wrong that it is.
#include "formats/section_fields.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>

namespace quern::formats::test {
namespace {

using Read = std::function<Status(const SectionFields&)>;

template <class T>
Status outcome(const Result<T>& result) {
  if (result.ok()) return {};
  return result.error();
}

TEST_CASE("a key of a section that is not what it must be is named") {
  const auto parsed = parse_json(
      R"({"version": 2, "text": "ab", "yes": true, "seven": 7, "less": -1, "half": 0.5,
          "list": [1, 2, 3], "hash": "00000000000000ff", "object": {"seven": 7}})",
      "f");
  REQUIRE(parsed.ok());
  const SectionFields in(*parsed, "the example", "f");

  CHECK(*in.text("text") == "ab");
  CHECK(*in.boolean("yes"));
  CHECK(*in.whole("seven", 7, 7) == 7);
  CHECK(*in.magnitude("half") == 0.5);
  CHECK((*in.list("list", 3))->size() == 3);
  CHECK(*in.hash("hash") == 255);
  CHECK(*in.child(**in.find("object")).whole("seven", 0, 9) == 7);
  CHECK(in.check_version(2).ok());

  const struct {
    const char* key;
    Read read;
    ErrorCode code;
  } cases[] = {
      {"absent", [](const auto& f) { return outcome(f.text("absent")); }, ErrorCode::kMissing},
      {"seven", [](const auto& f) { return outcome(f.text("seven")); }, ErrorCode::kMalformed},
      {"seven", [](const auto& f) { return outcome(f.boolean("seven")); }, ErrorCode::kMalformed},
      {"half", [](const auto& f) { return outcome(f.whole("half", 0, 9)); }, ErrorCode::kMalformed},
      {"text", [](const auto& f) { return outcome(f.magnitude("text")); }, ErrorCode::kMalformed},
      {"text", [](const auto& f) { return outcome(f.list("text", 9)); }, ErrorCode::kMalformed},
      {"text", [](const auto& f) { return outcome(f.hash("text")); }, ErrorCode::kMalformed},
      {"seven", [](const auto& f) { return outcome(f.whole("seven", 8, 9)); },
       ErrorCode::kOutOfRange},
      {"seven", [](const auto& f) { return outcome(f.whole("seven", 0, 6)); },
       ErrorCode::kOutOfRange},
      {"less", [](const auto& f) { return outcome(f.whole("less", 0, ~0ull)); },
       ErrorCode::kOutOfRange},
      {"less", [](const auto& f) { return outcome(f.magnitude("less")); }, ErrorCode::kOutOfRange},
      {"list", [](const auto& f) { return outcome(f.list("list", 2)); }, ErrorCode::kLimit},
      {"version", [](const auto& f) { return f.check_version(1); }, ErrorCode::kUnsupported},
  };
  for (const auto& wrong : cases) {
    const Status status = wrong.read(in);
    REQUIRE_FALSE(status.ok());
    CAPTURE(status.error().describe());
    CHECK(status.error().code == wrong.code);
    CHECK(status.error().field == wrong.key);
    CHECK(status.error().file == "f");
    CHECK(status.error().message.find("the example") != std::string::npos);
  }
}

}  // namespace
}  // namespace quern::formats::test
