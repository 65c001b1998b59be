// Adapters on the command line: beside a base, baked into a file, and as a file of their own.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "formats/safetensors_reader.h"
#include "process.h"

using namespace quern::test;

namespace {

std::vector<float> logits_of(const std::vector<std::string>& model,
                             const quern::testing::TempDir& folder) {
  const std::string out = folder.file("logits.safetensors");
  std::vector<std::string> words{"logits"};
  words.insert(words.end(), model.begin(), model.end());
  words.insert(words.end(), {"--ids", "1,5,9,33,7", "-o", out});
  const Outcome outcome = quern::test::quern(words);
  CAPTURE(outcome.err);
  REQUIRE(outcome.status == 0);
  const auto file = quern::formats::SafetensorsFile::open(out);
  REQUIRE(file.ok());
  const auto* tensor = file->find("logits");
  REQUIRE(tensor != nullptr);
  std::vector<float> values(tensor->data.size() / sizeof(float));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, static_cast<double>(std::fabs(a[i] - b[i])));
  return worst;
}

}  // namespace

TEST_CASE("convert bakes adapters in, or makes one a file of its own, and both answer alike") {
  const auto base = reference("models/llama3");
  if (!base) return;
  const quern::testing::TempDir folder;
  const std::string dora = std::string(QUERN_SOURCE_DIR) + "/tests/convert/fixtures/llama3_dora";
  const std::string baked = folder.file("baked.quern"), own = folder.file("adapter.quern");
  const auto expected = logits_of({*base, "--adapter", dora + "=0.5"}, folder);
  CHECK(largest_difference(expected, logits_of({*base}, folder)) > 0.1);

  const Outcome done = quern::test::quern(
      {"convert", *base, "-o", baked, "--adapter", dora + "=0.5", "--encoding", "f32", "--json"});
  CAPTURE(done.err);
  REQUIRE(done.status == 0);
  CHECK(largest_difference(logits_of({baked}, folder), expected) < 1e-3);
  CHECK(quern::test::quern({"verify", baked}).status == 0);

  const Outcome made = quern::test::quern({"convert", dora, "--base", *base, "-o", own, "--json"});
  CAPTURE(made.err);
  REQUIRE(made.status == 0);
  const auto json = nlohmann::json::parse(made.out);
  CHECK(json["pairs"] == 6);
  CHECK(json["scales"] == 6);
  CHECK(logits_of({*base, "--adapter", own + "=0.5"}, folder) == expected);
}

TEST_CASE("an adapter that does not fit is one sentence, and leaves no file") {
  const auto base = reference("models/llama3");
  if (!base) return;
  const quern::testing::TempDir folder;
  const std::string other = std::string(QUERN_SOURCE_DIR) + "/tests/convert/fixtures/gpt2_dora";
  const std::string out = folder.file("out.quern");
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"convert", *base, "-o", out, "--adapter", other},
                                             {"convert", other, "--base", *base, "-o", out}}) {
    const Outcome outcome = quern::test::quern(words);
    CAPTURE(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.err.find("adapter") != std::string::npos);
    CHECK(folder.entries() == 0);
  }
}
