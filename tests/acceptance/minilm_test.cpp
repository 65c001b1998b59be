// all-MiniLM-L6-v2 from the published checkpoint to sentence embeddings, against transformers' own.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "convert/convert.h"
#include "formats/json.h"
#include "quern/encoder.h"
#include "support/temp_dir.h"

using namespace quern;

namespace {

const std::string kReference =
    std::string(QUERN_SOURCE_DIR) + "/tests/acceptance/minilm_embeddings.json";
/// A text of a single letter is the hardest for 8 bits: little is left of it when errors average.
constexpr std::int64_t kShortText = 3;
constexpr double kExact = 0.99999, kEightBits = 0.999, kEightBitsShort = 0.998;

template <class T>
T must(Result<T> result) {
  if (!result.ok()) FAIL(result.error().describe());
  return std::move(result).value();
}

bool have_checkpoint() {
  if (std::filesystem::exists(QUERN_MINILM)) return true;
  if (std::getenv("QUERN_REQUIRE_CHECKPOINT") != nullptr) FAIL("missing: " << QUERN_MINILM);
  MESSAGE("left out, for this is missing: " << QUERN_MINILM);
  return false;
}

double cosine(std::span<const float> a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const auto x = static_cast<double>(a[i]);
    ab += x * b[i];
    aa += x * x;
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

struct Opened {
  testing::TempDir folder;
  Model model;

  explicit Opened(const std::string& encoding) : model(open(folder, encoding)) {}

 private:
  static Model open(const testing::TempDir& folder, const std::string& encoding) {
    const std::string path = folder.path() + "/minilm.quern";
    convert::ConvertOptions options;
    options.encoding = encoding;
    must(convert::convert(QUERN_MINILM, path, options));
    return must(Model::open(path));
  }
};

std::vector<EncoderInput> inputs_of(const Model& model, const formats::Json& reference) {
  std::vector<EncoderInput> inputs;
  for (const formats::Json& text : reference["texts"]) {
    inputs.push_back(
        must(model.encode_text(text["text"].get<std::string>(), model.max_text_tokens())));
    CHECK(inputs.back().ids.size() == text["tokens"].get<std::size_t>());
  }
  return inputs;
}

}  // namespace

TEST_CASE("MiniLM's embeddings are transformers', in float32 and in 8 bits") {
  if (!have_checkpoint()) return;
  const formats::Json reference = must(formats::read_json_file(kReference));
  for (const char* encoding : {"f32", "q8"}) {
    CAPTURE(encoding);
    const Opened opened(encoding);
    CHECK(opened.model.max_text_tokens() == 256);  // sentence_bert_config.json says so.
    const std::vector<EncoderInput> inputs = inputs_of(opened.model, reference);
    Encoder encoder = must(Encoder::create(opened.model, {.logits = false}));
    const auto dim = static_cast<std::size_t>(encoder.dim());
    const std::vector<float> all = must(encoder.embed(inputs, opened.model.default_embedding()));
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      CAPTURE(i);
      const bool is_short = static_cast<std::int64_t>(inputs[i].ids.size()) <= kShortText;
      const double eight = is_short ? kEightBitsShort : kEightBits;
      const double bound = std::string(encoding) == "f32" ? kExact : eight;
      const auto want = reference["texts"][i]["embedding"].get<std::vector<double>>();
      CHECK(cosine(std::span<const float>(all).subspan(i * dim, dim), want) >= bound);
    }
  }
}

TEST_CASE("a text's embedding is the same bits alone and among others") {
  if (!have_checkpoint()) return;
  const formats::Json reference = must(formats::read_json_file(kReference));
  const Opened opened("q8");
  const std::vector<EncoderInput> inputs = inputs_of(opened.model, reference);
  Encoder encoder = must(Encoder::create(opened.model, {.logits = false}));
  const auto dim = static_cast<std::size_t>(encoder.dim());
  const EmbeddingOptions options = opened.model.default_embedding();
  const std::vector<float> all = must(encoder.embed(inputs, options));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<float> one = must(encoder.embed({&inputs[i], 1}, options));
    const auto together = std::span<const float>(all).subspan(i * dim, dim);
    CHECK(std::equal(one.begin(), one.end(), together.begin(), together.end()));
  }
}

TEST_CASE("MiniLM verifies, and comes back from GGUF with its embeddings") {
  if (!have_checkpoint()) return;
  const Opened opened("keep");
  const VerifyReport report = must(opened.model.verify());
  CHECK(report.problems.empty());
  CHECK(report.logits_checked > 0);
  const std::string gguf = opened.folder.path() + "/minilm.gguf";
  must(convert::convert(opened.model.path(), gguf));
  const Model back = must(convert::open_any(gguf));
  const std::string text = "The mill turns.";
  Encoder first = must(Encoder::create(opened.model));
  Encoder second = must(Encoder::create(back));
  const EncoderInput input = must(opened.model.encode_text(text));
  CHECK(must(back.encode_text(text)).ids == input.ids);
  CHECK(must(first.embed({&input, 1}, opened.model.default_embedding())) ==
        must(second.embed({&input, 1}, back.default_embedding())));
}
