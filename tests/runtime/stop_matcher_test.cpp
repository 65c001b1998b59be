#include "runtime/stop_matcher.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using quern::runtime::StopMatcher;

namespace {

struct Outcome {
  std::string text;
  bool stopped;
  bool operator==(const Outcome&) const = default;
};

/// Feeds `text` in pieces of `size` bytes.
Outcome feed(const std::vector<std::string>& stops, const std::string& text, std::size_t size) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (std::size_t at = 0; at < text.size() && !matcher.stopped(); at += size)
    outcome.text += matcher.push(std::string_view(text).substr(at, size));
  if (!matcher.stopped()) outcome.text += matcher.finish();
  outcome.stopped = matcher.stopped();
  return outcome;
}

}  // namespace

TEST_CASE("a stop string ends the text wherever tokens cut it") {
  struct Row {
    std::vector<std::string> stops;
    std::string text, expected;
    bool stopped;
  };
  for (const Row& row : std::vector<Row>{
           {{}, "plain", "plain", false},
           {{"END"}, "one END two", "one ", true},
           {{"END"}, "EEND", "E", true},
           {{"END"}, "one EN", "one EN", false},
           {{"aab"}, "aaab", "a", true},
           {{"abab"}, "abaabab", "aba", true},
           {{"b", "abc"}, "xabc", "xa", true},  // The one that is complete first.
           {{"bc", "abc"}, "xabc", "x", true},  // The longest of those that end together.
           {{"\n\n", "User:"}, "a\nb\n\nc", "a\nb", true},
           {{"ö"}, "schön", "sch", true},
       }) {
    for (std::size_t size = 1; size <= row.text.size(); ++size) {
      CAPTURE(row.text);
      CAPTURE(size);
      CHECK(feed(row.stops, row.text, size) == Outcome{row.expected, row.stopped});
    }
  }
}

TEST_CASE("text that may begin a stop string is held back, other text is not") {
  StopMatcher matcher({"</s>"});
  CHECK(matcher.push("Hello <") == "Hello ");
  CHECK(matcher.push("/b> wor") == "</b> wor");
  CHECK(matcher.push("ld</") == "ld");
  CHECK(matcher.push("s") == "");
  CHECK(matcher.push(">more") == "");
  CHECK(matcher.stopped());
  CHECK(matcher.push("x") == "");
  CHECK(matcher.finish() == "");
}
