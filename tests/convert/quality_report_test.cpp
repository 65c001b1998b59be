// The quality report: the same in both formats, with a comparison where a text is given.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "fixtures.h"
#include "formats/gguf_reader.h"
#include "formats/json.h"
#include "formats/json_value.h"
#include "formats/quern_file.h"

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

/// Whether a sentence among the plan's warnings says that the source is quantized already.
bool is_warned(const ConvertReport& report) {
  for (const std::string& warning : report.plan.warnings) {
    if (warning.find("the source is quantized already (q4_0)") == 0) return true;
  }
  return false;
}

/// The values of a tensor, in the order in which every container of floats has them.
std::vector<float> floats_of(const TempFolder& folder, const std::string& path,
                             const std::string& tensor) {
  const std::string floats = folder.file("floats.quern");
  REQUIRE(convert(path, floats, plain_options("f32")).ok());
  const formats::QuernFile file = must(formats::QuernFile::open(floats));
  const formats::TensorEntry* entry = file.find(tensor);
  REQUIRE(entry != nullptr);
  std::vector<float> values(entry->data.size() / sizeof(float));
  std::memcpy(values.data(), entry->data.data(), values.size() * sizeof(float));
  return values;
}

/// ‖a − b‖ / ‖a‖
double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double square = 0, error = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto was = static_cast<double>(a[i]);
    square += was * was;
    error += (was - static_cast<double>(b[i])) * (was - static_cast<double>(b[i]));
  }
  return std::sqrt(error / square);
}

TEST_CASE("the compounded error is about that from the first source to the last file") {
  const TempFolder folder;
  const auto floats = reading_golden(folder, "llama3");
  if (!floats) return;
  const std::string once = folder.file("once.quern"), twice = folder.file("twice.quern");
  REQUIRE(convert(*floats, once, plain_options("qr4")).ok());
  REQUIRE(convert(once, twice, plain_options("q5_0")).ok());
  std::size_t compared = 0;
  const formats::Json report = shown_report(twice);
  for (const formats::Json& tensor : report["tensors"]) {
    const std::string name = tensor["name"].string();
    CAPTURE(name);
    const double real =
        relative_distance(floats_of(folder, *floats, name), floats_of(folder, twice, name));
    CHECK(tensor["compounded_error"].number() == doctest::Approx(real).epsilon(0.1));
    CHECK(tensor["relative_error"].number() < 0.9 * real);
    ++compared;
  }
  CHECK(compared >= 7);
}

TEST_CASE("a source that is quantized already is told of, and its error is compounded") {
  const TempFolder folder;
  const auto floats = reading_golden(folder, "llama3");
  if (!floats) return;
  for (const std::string kind : {".quern", ".gguf"}) {
    CAPTURE(kind);
    const std::string once = folder.file("once" + kind), twice = folder.file("twice" + kind);
    const auto first = convert(*floats, once, plain_options("q4_0"));
    REQUIRE(first.ok());
    CHECK_FALSE(is_warned(*first));
    const auto second = convert(once, twice, plain_options("q5_0"));
    REQUIRE_MESSAGE(second.ok(), second.error().describe());
    CHECK(is_warned(*second));
    const formats::Json before = shown_report(once)["tensors"];
    const formats::Json after = shown_report(twice)["tensors"];
    REQUIRE(before.size() == after.size());
    for (std::size_t i = 0; i < after.size(); ++i) {
      const double had = before[i]["relative_error"].number();
      CHECK_FALSE(before[i].contains("source_error"));
      CHECK(after[i]["source_error"].number() == had);
      CHECK_FALSE(after[i].contains("source_error_is_estimate"));
      CHECK(after[i]["compounded_error"].number() ==
            doctest::Approx(std::hypot(had, after[i]["relative_error"].number())));
    }
    // What was compounded once is what the next conversion begins with.
    REQUIRE(convert(twice, folder.file("thrice" + kind), plain_options("q8_0")).ok());
    const formats::Json third = shown_report(folder.file("thrice" + kind))["tensors"];
    CHECK(third[0]["source_error"].number() == after[0]["compounded_error"].number());
  }
}

TEST_CASE("what a source without a report has lost is estimated by its encoding") {
  const TempFolder folder;
  const auto floats = reading_golden(folder, "llama3");
  if (!floats) return;
  const auto exact = convert(*floats, folder.file("a.gguf"), plain_options("q4_0"));
  REQUIRE(exact.ok());
  REQUIRE(convert(folder.file("a.gguf"), folder.file("bare.quern"), plain_options()).ok());
  const auto again =
      convert(folder.file("bare.quern"), folder.file("b.quern"), plain_options("q8"));
  REQUIRE_MESSAGE(again.ok(), again.error().describe());
  CHECK(is_warned(*again));
  const formats::Json estimated = shown_report(folder.file("b.quern"));
  std::size_t known = 0;
  for (const formats::Json& tensor : estimated["tensors"]) {
    const bool quantized = tensor["source_encoding"].string() == "q4_0";
    CHECK(tensor.contains("source_error") == quantized);  // GGUF keeps odd rows as floats.
    if (!quantized) continue;
    ++known;
    CHECK(tensor["source_error_is_estimate"].boolean());
    CHECK(tensor["source_error"].number() > 0.05);
    CHECK(tensor["source_error"].number() < 0.15);
  }
  CHECK(known >= 7);
  // Floats hold all that it has: nothing is lost, nothing is told.
  const auto kept =
      convert(folder.file("bare.quern"), folder.file("c.quern"), plain_options("f32"));
  REQUIRE(kept.ok());
  CHECK_FALSE(is_warned(*kept));
}

}  // namespace
}  // namespace quern::convert::test
