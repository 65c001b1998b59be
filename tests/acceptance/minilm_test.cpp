// all-MiniLM-L6-v2 from the published checkpoint to sentence embeddings, against transformers' own.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "convert/convert.h"
#include "formats/json.h"
#include "quern/encoder.h"
#include "support/must.h"
#include "support/temp_dir.h"

using namespace quern;
using quern::testing::must;

namespace {

const std::string kReference =
    std::string(QUERN_SOURCE_DIR) + "/tests/acceptance/minilm_embeddings.json";
constexpr double kExact = 0.99999, kEightBits = 0.999;
/// Tokens of a text of one word: what the special tokens lose outweighs it. One channel holds 99 %
/// of their energy, so that every rounding there is large beside the rest. Weights and activations
/// in 8 bits then stay within the bound each on its own, but not both together.
constexpr std::size_t kOneWord = 3;

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

  explicit Opened(const std::string& encoding, const std::string& source = QUERN_MINILM)
      : model(open(folder, encoding, source)) {}

 private:
  static Model open(const testing::TempDir& folder, const std::string& encoding,
                    const std::string& source) {
    const std::string path = folder.path() + "/minilm.quern";
    convert::ConvertOptions options;
    options.encoding = encoding;
    must(convert::convert(source, path, options));
    return must(Model::open(path));
  }
};

/// The reference's texts, their numbers of tokens and transformers' embeddings.
struct Texts {
  std::vector<std::string> text;
  std::vector<std::size_t> tokens;
  std::vector<std::vector<double>> reference;

  Texts() {
    const formats::Json json = must(formats::read_json_file(kReference));
    for (const formats::Json& entry : json["texts"]) {
      text.push_back(entry["text"].string());
      tokens.push_back(entry["tokens"].unsigned_integer());
      reference.emplace_back();
      for (const formats::Json& number : entry["embedding"])
        reference.back().push_back(number.number());
    }
  }
};

std::vector<EncoderInput> inputs_of(const Model& model, const Texts& texts) {
  std::vector<EncoderInput> inputs;
  for (std::size_t i = 0; i < texts.text.size(); ++i) {
    inputs.push_back(must(model.encode_text(texts.text[i], model.max_text_tokens())));
    CHECK(inputs.back().ids.size() == texts.tokens[i]);
  }
  return inputs;
}

/// All texts in one call.
std::vector<std::vector<float>> embeddings_of(const Model& model, const Texts& texts) {
  Encoder encoder = must(Encoder::create(model, {.logits = false}));
  const std::vector<float> all =
      must(encoder.embed(inputs_of(model, texts), model.default_embedding()));
  const auto dim = encoder.dim();
  std::vector<std::vector<float>> rows;
  for (auto row = all.begin(); row != all.end(); row += dim) rows.emplace_back(row, row + dim);
  return rows;
}

}  // namespace

TEST_CASE("MiniLM's embeddings are transformers' in float32") {
  if (!have_checkpoint()) return;
  const Texts texts;
  const Opened opened("f32");
  CHECK(opened.model.max_text_tokens() == 256);  // sentence_bert_config.json says so.
  const std::vector<std::vector<float>> got = embeddings_of(opened.model, texts);
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(cosine(got[i], texts.reference[i]) >= kExact);
  }
}

TEST_CASE("MiniLM in 8 bits loses little by its weights, by its activations, and by both") {
  if (!have_checkpoint()) return;
  const Texts texts;
  const Opened opened("q8");
  const std::vector<std::vector<float>> eight = embeddings_of(opened.model, texts);
  const Opened floats("f32", opened.model.path());
  const std::vector<std::vector<float>> weights = embeddings_of(floats.model, texts);
  for (std::size_t i = 0; i < eight.size(); ++i) {
    CAPTURE(i);
    CHECK(cosine(weights[i], texts.reference[i]) >= kEightBits);
    CHECK(cosine(eight[i], {weights[i].begin(), weights[i].end()}) >= kEightBits);
    if (texts.tokens[i] <= kOneWord) continue;
    CHECK(cosine(eight[i], texts.reference[i]) >= kEightBits);
  }
}

TEST_CASE("a text's embedding is the same bits alone and among others") {
  if (!have_checkpoint()) return;
  const Texts texts;
  const Opened opened("q8");
  const std::vector<std::vector<float>> together = embeddings_of(opened.model, texts);
  const std::vector<EncoderInput> inputs = inputs_of(opened.model, texts);
  Encoder encoder = must(Encoder::create(opened.model, {.logits = false}));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    CHECK(must(encoder.embed({&inputs[i], 1}, opened.model.default_embedding())) == together[i]);
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
