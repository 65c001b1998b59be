// Every golden encoder against transformers: hidden states, embeddings, masked words, labels; and
// that neither threads nor companions in a step change a bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "encoder_runner.h"
#include "formats/json.h"
#include "support/compare_floats.h"
#include "support/must.h"

using namespace quern;
using namespace quern::test;
using quern::testing::max_abs_difference;
using quern::testing::must;
using quern::testing::same_bits;

namespace {

constexpr double kTolerance = 2e-4;  // Of the outputs' standard deviation; goldens/README.md's aim.
constexpr double kEmbeddingTolerance = 1e-4;
constexpr double kEmbeddingCosine = 0.99999;

const std::string kModels = std::string(QUERN_GOLDENS_DIR) + "/models/";

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    ab += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    aa += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return ab / std::sqrt(aa * bb);
}

/// The mean of the rows of `hidden` `[n, dim]`, of length one.
std::vector<float> mean_embedding(const std::vector<float>& hidden, std::size_t n) {
  const std::size_t dim = hidden.size() / n;
  std::vector<double> sum(dim);
  for (std::size_t i = 0; i < hidden.size(); ++i) sum[i % dim] += static_cast<double>(hidden[i]);
  double square = 0;
  for (const double x : sum) square += x * x;
  std::vector<float> mean(dim);
  for (std::size_t i = 0; i < dim; ++i) mean[i] = static_cast<float>(sum[i] / std::sqrt(square));
  return mean;
}

template <class Body>
void for_each_golden(Body body) {
  const std::vector<std::string> names = goldens({"encoder", "masked_lm", "seq_cls"});
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

TEST_CASE("every golden encoder gives transformers' outputs, several texts in one step") {
  for_each_golden([](const std::string& directory, const auto& golden, const auto& about) {
    const std::vector<Text> texts = golden_texts(golden);
    REQUIRE(texts.size() == 2);
    const double bound = kTolerance * about["output_std"].number();
    for (const char* config : {"config.json", "config_v4.json"}) {
      CAPTURE(config);
      if (!formats::read_json_file(directory + "/" + config).ok()) continue;
      const GoldenModel model = must(GoldenModel::load(directory, config));
      EncoderRunner runner = must(EncoderRunner::create(model, 2));
      REQUIRE(runner.run(texts).ok());
      for (const char* name : {"last_hidden_state", "logits", "pooler_output"}) {
        CAPTURE(name);
        if (golden.find(name) == nullptr) continue;
        for (std::size_t i = 0; i < texts.size(); ++i) {
          const std::vector<float> got = runner.output(name, i);
          CHECK(max_abs_difference(got, golden_part(golden, name, i, got.size())) <= bound);
        }
      }
      if (golden.find("embedding") == nullptr) continue;
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::vector<float> got =
            mean_embedding(runner.output("last_hidden_state", i), texts[i].ids.size());
        const std::vector<float> want = golden_part(golden, "embedding", i, got.size());
        CHECK(max_abs_difference(got, want) <= kEmbeddingTolerance);
        CHECK(cosine(got, want) >= kEmbeddingCosine);
      }
    }
  });
}

TEST_CASE("an encoder's outputs are the same bits for every number of threads and any companions") {
  for_each_golden([](const std::string& directory, const auto& golden, const auto&) {
    const std::vector<Text> texts = golden_texts(golden);
    const char* name = golden.find("logits") != nullptr ? "logits" : "last_hidden_state";
    for (const Encoding encoding :
         {GoldenModel::kKeep, Encoding::kQ8_0, Encoding::kQR8, Encoding::kQR4}) {
      CAPTURE(static_cast<int>(encoding));
      const GoldenModel model = must(GoldenModel::load(directory, "config.json", encoding));
      EncoderRunner alone = must(EncoderRunner::create(model, 1));
      std::vector<std::vector<float>> want;
      for (const Text& text : texts) {
        REQUIRE(alone.run({text}).ok());
        want.push_back(alone.output(name, 0));
      }
      for (const int threads : {1, 2, 3, 8}) {
        CAPTURE(threads);
        EncoderRunner runner = must(EncoderRunner::create(model, threads));
        REQUIRE(runner.run({texts[1], texts[0], texts[1]}).ok());
        CHECK(same_bits(runner.output(name, 0), want[1]));
        CHECK(same_bits(runner.output(name, 1), want[0]));
        CHECK(same_bits(runner.output(name, 2), want[1]));
      }
    }
  });
}
