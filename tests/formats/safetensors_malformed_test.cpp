#include <cctype>
#include <string>
#include <vector>

#include "malformed.h"
#include "support/small_files.h"

using namespace quern;
using namespace quern::testing;
using formats::SafetensorsFile;

namespace {

struct Span {
  std::size_t begin, length;
};

/// Every number of the header that stands outside strings.
std::vector<Span> numbers_of(const std::string& header) {
  std::vector<Span> spans;
  bool inside = false;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (header[i] == '"') inside = !inside;
    if (inside || std::isdigit(static_cast<unsigned char>(header[i])) == 0) continue;
    std::size_t end = i;
    while (std::isdigit(static_cast<unsigned char>(header[end])) != 0) ++end;
    spans.push_back({i, end - i});
    i = end - 1;
  }
  return spans;
}

Verdict judge_header(const std::string& header, std::size_t data = kSmallSafetensorsData) {
  return judge<SafetensorsFile>(safetensors_with(header, data));
}

}  // namespace

TEST_CASE("a safetensors file cut anywhere is refused") {
  const std::string bytes = safetensors_with(small_safetensors_header(), kSmallSafetensorsData);
  REQUIRE(judge<SafetensorsFile>(bytes).accepted);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(judge<SafetensorsFile>(std::string_view(bytes).substr(0, n)).accepted);
  }
  for (std::size_t n = 1; n < 70; ++n) {
    CHECK_FALSE(judge<SafetensorsFile>(bytes + std::string(n, '\0')).accepted);
  }
}

TEST_CASE("the header length of safetensors at every extreme is refused") {
  const std::string bytes = safetensors_with(small_safetensors_header(), kSmallSafetensorsData);
  for (const std::uint64_t value : extremes(bytes.size() - 8)) {
    for (const bool swapped : {false, true}) {
      const std::string changed = with_field(bytes, 0, 8, value, swapped);
      CAPTURE(value);
      if (changed != bytes) CHECK_FALSE(judge<SafetensorsFile>(changed).accepted);
    }
  }
}

TEST_CASE("every number of a safetensors header at every extreme and type is refused") {
  const std::string header = small_safetensors_header();
  std::vector<std::string> values = {"-1",
                                     "1.5",
                                     "1e3",
                                     "1e400",
                                     "\"1\"",
                                     "null",
                                     "true",
                                     "[]",
                                     "{}",
                                     "-0",
                                     "01",
                                     "",
                                     "18446744073709551616",
                                     "0x10",
                                     "1e19",
                                     "[[1]]"};
  for (const std::uint64_t value : extremes(28)) values.push_back(std::to_string(value));
  const auto spans = numbers_of(header);
  REQUIRE(spans.size() == 7);
  std::size_t cases = 0;
  for (const Span& span : spans) {
    for (const std::string& value : values) {
      std::string changed = header;
      changed.replace(span.begin, span.length, value);
      CAPTURE(changed);
      // An empty shape number may leave valid JSON of another meaning, e.g. [2,] is refused.
      if (changed != header) CHECK_FALSE(judge_header(changed).accepted);
      ++cases;
    }
  }
  MESSAGE(cases << " cases");
}

TEST_CASE("every flipped bit of a safetensors header gives a typed error or a sound file") {
  const std::string bytes = safetensors_with(small_safetensors_header(), kSmallSafetensorsData);
  for (std::size_t bit = 0; bit < 8 * (bytes.size() - kSmallSafetensorsData); ++bit) {
    std::string changed = bytes;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    judge<SafetensorsFile>(changed);
  }
}

TEST_CASE("holes, overlaps, aliases, duplicates and wrong sizes of safetensors are refused") {
  struct Case {
    const char* header;
    std::size_t data;
    ErrorCode code;
  };
  const Case cases[] = {
      // A hole before, between and after.
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
           "b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
       3, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 3, ErrorCode::kMalformed},
      // Overlap; two names for the same bytes.
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
           "b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
           "b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
       2, ErrorCode::kMalformed},
      // End before begin; beyond the file; size against shape; product wraps to the right size.
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[2,0]}})", 2, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 2, ErrorCode::kTruncated},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,2]}})", 2, ErrorCode::kMismatch},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       ErrorCode::kMismatch},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, ErrorCode::kMismatch},
      // Duplicates at both levels.
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
           "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
       1, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1,
       ErrorCode::kMalformed},
      // Missing or foreign members, wrong types.
      {R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","shape":[1]}})", 1, ErrorCode::kMalformed},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, ErrorCode::kMalformed},
      {R"({"a":[1]})", 1, ErrorCode::kMalformed},
      {R"({"__metadata__":{"n":1}})", 0, ErrorCode::kMalformed},
      {R"({"__metadata__":"x"})", 0, ErrorCode::kMalformed},
      // Nested beyond what the format has; not an object; not UTF-8; a NUL; two documents.
      {R"({"a":{"dtype":"U8","shape":[[[[1]]]],"data_offsets":[0,1]}})", 1, ErrorCode::kLimit},
      {"[]", 0, ErrorCode::kMalformed},
      {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
       ErrorCode::kMalformed},
      {"{}{}", 0, ErrorCode::kMalformed},
      {" {}", 0, ErrorCode::kMalformed},
  };
  for (const Case& test : cases) {
    const Verdict verdict = judge_header(test.header, test.data);
    CAPTURE(test.header);
    CHECK_FALSE(verdict.accepted);
    CHECK(verdict.error.code == test.code);
  }
}

TEST_CASE("a safetensors file without tensors, or of an unknown dtype, is listed") {
  CHECK(judge_header("{}", 0).accepted);
  CHECK(judge_header(R"({"a":{"dtype":"Q3_X","shape":[7],"data_offsets":[0,5]}})", 5).accepted);
}
