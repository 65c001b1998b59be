// SmolLM2-135M-Instruct from the published file to logits, against transformers' own and the peers'
// perplexity.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "convert/convert.h"
#include "formats/gguf_reader.h"
#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "quern/session.h"
#include "support/json_lists.h"
#include "support/must.h"
#include "support/temp_dir.h"

using namespace quern;
using quern::testing::must;

namespace {

const std::string kGoldens = std::string(QUERN_GOLDENS_DIR) + "/smollm2-135m";
const std::string kEvalText = std::string(QUERN_GOLDENS_DIR) + "/../eval/english-eval.txt";
constexpr double kSureMargin = 0.05;

/// Whether checkpoint and goldens are there; a failure where QUERN_REQUIRE_CHECKPOINT is set.
bool have_everything() {
  for (const std::string& path : {std::string(QUERN_SMOLLM2_GGUF), kGoldens, kEvalText}) {
    if (std::filesystem::exists(path)) continue;
    if (std::getenv("QUERN_REQUIRE_CHECKPOINT") != nullptr) FAIL("missing: " << path);
    MESSAGE("left out, for this is missing: " << path);
    return false;
  }
  return true;
}

Model converted(const testing::TempDir& directory, const std::string& encoding) {
  const std::string path = directory.path() + "/" + encoding + ".quern";
  convert::ConvertOptions options;
  options.encoding = encoding;
  options.self_test = encoding == "keep";
  must(convert::convert(QUERN_SMOLLM2_GGUF, path, options));
  return must(Model::open(path));
}

std::vector<float> all_logits(const Model& model, const std::vector<TokenId>& ids) {
  SessionOptions options;
  options.context = static_cast<std::int64_t>(ids.size());
  options.output_rows = 64;
  Session session = must(Session::create(model, options));
  std::vector<float> logits;
  const Status status =
      session.step_all(ids, [&](std::int64_t, std::span<const float> rows) -> Status {
        logits.insert(logits.end(), rows.begin(), rows.end());
        return {};
      });
  if (!status.ok()) FAIL(status.error().describe());
  return logits;
}

double negative_log_likelihood(const float* row, std::size_t vocab, TokenId id) {
  const double most = static_cast<double>(*std::max_element(row, row + vocab));
  double sum = 0;
  for (std::size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]) - most);
  return most + std::log(sum) - static_cast<double>(row[id]);
}

std::string first_bytes(const std::string& path, std::size_t n) {
  std::ifstream file(path, std::ios::binary);
  std::string text(n, '\0');
  file.read(text.data(), static_cast<std::streamsize>(n));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

}  // namespace

TEST_CASE(
    "in float32 SmolLM2 gives transformers' logits, and its greedy ids wherever they are sure") {
  if (!have_everything()) return;
  const testing::TempDir directory;
  const Model model = converted(directory, "f32");
  const auto vocab = static_cast<std::size_t>(model.vocab_size());
  const auto golden = must(formats::SafetensorsFile::open(kGoldens + "/logits.safetensors"));
  const std::span<const std::byte> expected = golden.find("logits")->data;

  std::ifstream lines(kGoldens + "/greedy.jsonl");
  int prompts = 0;
  for (std::string line; std::getline(lines, line); ++prompts) {
    const formats::Json golden_case = must(formats::parse_json(line, "greedy.jsonl"));
    const auto prompt = testing::numbers_of<TokenId>(golden_case["ids"]);
    const auto greedy = testing::numbers_of<TokenId>(golden_case["greedy_ids"]);
    const auto margins = testing::numbers_of<double>(golden_case["margins"]);
    CHECK(must(model.encode(golden_case["prompt"].string(), {.add_special = false})) == prompt);

    std::vector<TokenId> ids = prompt;
    ids.insert(ids.end(), greedy.begin(), greedy.end() - 1);
    const std::vector<float> logits = all_logits(model, ids);
    for (std::size_t i = 0; i < greedy.size(); ++i) {
      if (margins[i] <= kSureMargin) continue;
      const auto row =
          logits.begin() + static_cast<std::ptrdiff_t>((prompt.size() - 1 + i) * vocab);
      CHECK(std::max_element(row, row + static_cast<std::ptrdiff_t>(vocab)) - row == greedy[i]);
    }
    if (prompts == 0) {
      double worst = 0;
      for (std::size_t i = 0; i < prompt.size() * vocab; ++i) {
        float value;
        std::memcpy(&value, expected.data() + i * sizeof value, sizeof value);
        worst =
            std::max(worst, std::fabs(static_cast<double>(value) - static_cast<double>(logits[i])));
      }
      CHECK(worst < 1e-3);  // The logits' standard deviation is 6.2.
    }
  }
  CHECK(prompts == 6);
}

TEST_CASE("the published Q4_1 file has the perplexity that the peers measure on its values") {
  if (!have_everything()) return;
  const testing::TempDir directory;
  const Model model = converted(directory, "keep");
  const auto vocab = static_cast<std::size_t>(model.vocab_size());
  const std::vector<TokenId> ids = must(
      model.encode(first_bytes(kEvalText, 120000), {.add_special = false, .parse_special = false}));
  constexpr std::size_t kWindow = 512;
  constexpr std::size_t kWindows = 20;
  REQUIRE(ids.size() >= kWindow * kWindows);
  double sum = 0;
  std::size_t scored = 0;
  for (std::size_t window = 0; window < kWindows; ++window) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(window * kWindow);
    const std::vector<TokenId> part(first, first + kWindow);
    const std::vector<float> logits = all_logits(model, part);
    for (std::size_t i = kWindow / 2; i < kWindow; ++i, ++scored) {
      sum += negative_log_likelihood(logits.data() + (i - 1) * vocab, vocab, part[i]);
    }
  }
  const double perplexity = std::exp(sum / static_cast<double>(scored));
  MESSAGE("perplexity " << perplexity);
  CHECK(perplexity > 23.5);
  CHECK(perplexity < 24.1);
}

TEST_CASE("the published file verifies after conversion and returns to the same tensor bytes") {
  if (!have_everything()) return;
  const testing::TempDir directory;
  const Model model = converted(directory, "keep");
  const VerifyReport report = must(model.verify());
  CHECK(report.problems.empty());
  CHECK(report.logits_checked > 0);

  const std::string back = directory.path() + "/back.gguf";
  must(convert::convert(model.path(), back));
  const auto before = must(formats::GgufFile::open(QUERN_SMOLLM2_GGUF));
  const auto after = must(formats::GgufFile::open(back));
  for (const formats::GgufTensor& tensor : before.tensors()) {
    CAPTURE(std::string(tensor.name));
    const formats::GgufTensor* same = after.find_tensor(tensor.name);
    REQUIRE(same != nullptr);
    CHECK(same->type == tensor.type);
    REQUIRE(same->data.size() == tensor.data.size());
    CHECK(std::memcmp(same->data.data(), tensor.data.data(), tensor.data.size()) == 0);
  }
}
