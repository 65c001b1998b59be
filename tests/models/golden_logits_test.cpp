#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "formats/json.h"
#include "golden_model.h"
#include "support/compare_floats.h"
#include "support/must.h"

using namespace quern;
using namespace quern::test;
using quern::testing::max_abs_difference;
using quern::testing::must;
using quern::testing::same_bits;

namespace {

constexpr double kTolerance = 2e-4;  // Of the logits' standard deviation; goldens/README.md's aim.

const std::string kModels = std::string(QUERN_GOLDENS_DIR) + "/models/";

std::int32_t argmax_of_last_row(const std::vector<float>& logits, std::size_t vocab) {
  const auto row = logits.end() - static_cast<std::ptrdiff_t>(vocab);
  return static_cast<std::int32_t>(std::max_element(row, logits.end()) - row);
}

/// Runs `body` for every golden; fails in CI where there are none.
template <class Body>
void for_each_golden(Body body) {
  const std::vector<std::string> names = goldens({"decoder"});
  if (names.empty()) {
    if (std::getenv("CI") != nullptr) FAIL("no goldens in " << kModels);
    MESSAGE("no goldens in " << kModels);
  }
  for (const std::string& name : names) {
    CAPTURE(name);
    body(kModels + name,
         must(formats::SafetensorsFile::open(kModels + name + "/golden.safetensors")),
         must(formats::read_json_file(kModels + name + "/golden.json")));
  }
}

}  // namespace

TEST_CASE("every golden decoder gives transformers' logits") {
  for_each_golden([](const std::string& directory, const auto& golden, const auto& about) {
    for (const char* config : {"config.json", "config_v4.json"}) {
      CAPTURE(config);
      // Where the spellings do not differ there is one.
      if (!std::filesystem::exists(directory + "/" + config)) continue;
      const GoldenModel model = must(GoldenModel::load(directory, config));
      const double bound = kTolerance * about["output_std"].number();
      Runner runner = must(Runner::create(model, {}));
      CHECK(max_abs_difference(must(runner.step(golden_ids(golden, "input_ids"), 64)),
                               golden_floats(golden, "logits")) <= bound);
      Runner fresh = must(Runner::create(model, {}));
      CHECK(max_abs_difference(must(fresh.step(golden_ids(golden, "short_input_ids"), 64)),
                               golden_floats(golden, "short_logits")) <= bound);
    }
  });
}

TEST_CASE(
    "every golden decoder continues greedily as transformers does, token by token over the cache") {
  for_each_golden([](const std::string& directory, const auto& golden, const auto&) {
    const GoldenModel model = must(GoldenModel::load(directory, "config.json"));
    Runner runner = must(Runner::create(model, {.threads = 2}));
    std::vector<float> logits = must(runner.step(golden_ids(golden, "input_ids"), 64));
    const auto vocab = static_cast<std::size_t>(model.graph()->vocab_size);
    for (const std::int32_t expected : golden_ids(golden, "greedy_ids")) {
      const std::int32_t id = argmax_of_last_row(logits, vocab);
      REQUIRE(id == expected);
      logits = must(runner.step({id}, 1));
    }
  });
}

TEST_CASE(
    "logits are the same bits for every chunking and number of threads, whatever the encoding") {
  for_each_golden([](const std::string& directory, const auto& golden, const auto&) {
    const std::vector<std::int32_t> ids = golden_ids(golden, "input_ids");
    for (const Encoding encoding :
         {GoldenModel::kKeep, Encoding::kQ8_0, Encoding::kQR8, Encoding::kQR4}) {
      CAPTURE(static_cast<int>(encoding));
      const GoldenModel model = must(GoldenModel::load(directory, "config.json", encoding));
      Runner whole = must(Runner::create(model, {}));
      const std::vector<float> reference = must(whole.step(ids, 64));
      // Every number of threads and every chunking, not every pair of them: single rows on more
      // threads than processors take long and show nothing new.
      using Pair = std::pair<int, std::int64_t>;
      for (const Pair& run : {Pair(1, 1), Pair(1, 7), Pair(2, 7), Pair(3, 64), Pair(8, 64)}) {
        const int threads = run.first;
        const std::int64_t chunk = run.second;
        CAPTURE(threads);
        CAPTURE(chunk);
        Runner runner = must(Runner::create(model, {.threads = threads}));
        CHECK(same_bits(must(runner.step(ids, chunk)), reference));
      }
    }
  });
}
