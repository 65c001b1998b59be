// The quality report: the same in both formats, with a comparison where a text is given.
#include <doctest/doctest.h>

#include "convert/convert.h"
#include "fixtures.h"
#include "formats/gguf_reader.h"
#include "formats/json.h"
#include "formats/json_value.h"

namespace quern::convert::test {
namespace {

formats::Json parsed(const std::string& text) {
  auto json = formats::parse_json(text, "");
  REQUIRE_MESSAGE(json.ok(), (json.ok() ? "" : json.error().describe()));
  return std::move(json).value();
}

/// The report that `inspect` shows of a file.
formats::Json shown_report(const std::string& path) {
  const auto text = describe(path, false);
  REQUIRE_MESSAGE(text.ok(), (text.ok() ? "" : text.error().describe()));
  return parsed(*text)["report"];
}

TEST_CASE("a quantized file of either format tells its errors and what they do to the answers") {
  const TempFolder folder;
  const auto source = reading_golden(folder, "llama3");
  if (!source) return;
  write_bytes(folder.file("text"), some_text(20000));
  for (const std::string output : {"a.quern", "a.gguf"}) {
    CAPTURE(output);
    double divergence = 1e300;
    for (const char* encoding : {"q4_0", "q8_0"}) {
      CAPTURE(encoding);
      ConvertOptions options = plain_options(encoding);
      options.evaluation_text = folder.file("text");
      const auto report = convert(*source, folder.file(output), options);
      REQUIRE_MESSAGE(report.ok(), report.error().describe());
      const formats::Json stored = shown_report(folder.file(output));
      CHECK(formats::dump_json(stored) == formats::dump_json(parsed(report->quality_json)));
      const formats::Json& tensors = stored["tensors"];
      CHECK(tensors.size() >= 7);
      for (const formats::Json& tensor : tensors) {
        CHECK(tensor["relative_error"].number() > 0);
        CHECK(tensor["relative_error"].number() < 0.2);
      }
      const double found = stored["comparison"]["kl_divergence"]["mean"].number();
      CHECK(stored["comparison"]["tokens"].number() > 0);
      CHECK(found > 0);
      CHECK(found < 0.1 * divergence);
      divergence = found;
    }
  }
}

TEST_CASE("a report is not handed on with a model that is converted again") {
  const TempFolder folder;
  write_toy_gguf(folder.file("a.gguf"));
  REQUIRE(convert(folder.file("a.gguf"), folder.file("b.gguf"), plain_options("q8_0")).ok());
  CHECK(shown_report(folder.file("b.gguf")).is_object());
  REQUIRE(convert(folder.file("b.gguf"), folder.file("c.gguf"), plain_options()).ok());
  REQUIRE(convert(folder.file("b.gguf"), folder.file("c.quern"), plain_options()).ok());
  for (const char* copy : {"c.gguf", "c.quern"}) {
    CAPTURE(copy);
    CHECK(read_bytes(folder.file(copy)).find("quality_report") == std::string::npos);
  }
  REQUIRE(convert(folder.file("b.gguf"), folder.file("d.gguf"), plain_options("q4_0")).ok());
  const formats::Json tensors = shown_report(folder.file("d.gguf"))["tensors"];
  REQUIRE(tensors.size() > 0);
  CHECK(formats::dump_json(tensors[0]["encoding"]) == "\"q4_0\"");
}

}  // namespace
}  // namespace quern::convert::test
