// The picture of quality reports: well formed, and all of them in it.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "process.h"

namespace quern::test {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

/// Whether every tag is closed, in order. \param depth the most that are open at a time.
bool closes_its_tags(const std::string& text, std::size_t depth) {
  std::vector<std::string> open;
  for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
    const std::size_t end = text.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = text.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find(' '));
    if (tag.front() == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    if (open.size() > depth) return false;
  }
  return open.empty();
}

}  // namespace

TEST_CASE("the picture shows every tensor of both files, named, and is well-formed SVG") {
  const auto model = handbook_quern();
  if (!model) return;
  const testing::TempDir folder;
  const std::string one = folder.file("one.quern"), two = folder.file("two <&\"> .quern");
  REQUIRE(quern({"quantize", *model, "-o", one, "--encoding", "q4"}).status == 0);
  REQUIRE(quern({"quantize", *model, "-o", two, "--encoding", "q6"}).status == 0);
  const Outcome outcome =
      quern({"inspect", one, "--compare", two, "--picture", folder.file("both.svg")});
  REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
  const std::string svg = folder.read("both.svg");
  CHECK(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0) == 0);
  CHECK(closes_its_tags(svg, 3));
  // Discs of the first file and squares of the second: its tensors, and one beside its name.
  constexpr std::size_t kMatrices = 57;
  CHECK(count(svg, "<circle") == kMatrices + 1);
  CHECK(count(svg, "fill=\"none\"") == kMatrices + 1);
  for (const char* part : {"one.quern", "two &lt;&amp;&quot;&gt; .quern", "layers.7.w_down: qr4",
                           "layers.7.w_down: qr6", "qr4: 57 matrices"}) {
    CHECK_MESSAGE(svg.find(part) != std::string::npos, part);
  }
}

}  // namespace quern::test
