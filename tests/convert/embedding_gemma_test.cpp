// EmbeddingGemma: Gemma 3 in both directions with its poolings, against transformers' hidden states
// and sentence-transformers' embeddings. embedding_gemma/make.py made the checkpoint.
#include <doctest/doctest.h>

#include <cmath>
#include <span>

#include "fixtures.h"
#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "quern/encoder.h"

namespace quern::convert::test {
namespace {

std::string checkpoint() { return fixture("../embedding_gemma/model"); }

formats::SafetensorsFile golden_file() {
  return must(formats::SafetensorsFile::open(checkpoint() + "/golden.safetensors"));
}

std::vector<std::string> texts() {
  std::vector<std::string> texts;
  for (const formats::Json& text : must(formats::read_json_file(checkpoint() + "/texts.json")))
    texts.push_back(text.string());
  return texts;
}

std::vector<EncoderInput> inputs_of(const Model& model) {
  std::vector<EncoderInput> inputs;
  for (const std::string& text : texts()) inputs.push_back(must(model.encode_text(text)));
  return inputs;
}

/// The hidden states of every text, all texts in one call.
std::vector<std::vector<float>> states_of(const Model& model) {
  const std::vector<EncoderInput> inputs = inputs_of(model);
  std::vector<std::vector<float>> states(inputs.size());
  Encoder encoder = must(Encoder::create(model));
  const Status ran = encoder.run(inputs, [&](std::size_t i, const EncoderOutput& output) {
    states[i].assign(output.hidden.begin(), output.hidden.end());
    return Status();
  });
  REQUIRE(ran.ok());
  return states;
}

double deviation(const std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares / static_cast<double>(values.size()));
}

/// The checkpoint in `folder`, with `from` in its configuration replaced.
std::string changed(const TempFolder& folder, const std::string& from, const std::string& to) {
  namespace fs = std::filesystem;
  const std::string copy = folder.file("changed");
  fs::copy(checkpoint(), copy, fs::copy_options::recursive);
  fs::permissions(copy + "/config.json", fs::perms::owner_all);
  std::string text = read_bytes(copy + "/config.json");
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  write_bytes(copy + "/config.json", text.replace(at, from.size(), to));
  return copy;
}

}  // namespace

TEST_CASE("EmbeddingGemma's hidden states and embeddings are the original libraries'") {
  const auto golden = golden_file();
  const TempFolder folder;
  must(convert(checkpoint(), folder.file("a.quern"), plain_options()));
  const Model model = must(Model::open(folder.file("a.quern")));
  CHECK(model.is_encoder());
  const auto inputs = inputs_of(model);
  const auto states = states_of(model);
  REQUIRE(states.size() == 3);
  for (std::size_t i = 0; i < states.size(); ++i) {
    CAPTURE(i);
    const auto ids = values_of<std::int64_t>(golden, "ids." + std::to_string(i));
    CHECK(std::vector<std::int64_t>(inputs[i].ids.begin(), inputs[i].ids.end()) == ids);
    const auto want = values_of<float>(golden, "states." + std::to_string(i));
    REQUIRE(states[i].size() == want.size());
    CHECK(largest_difference(states[i], want) <= 1e-5 * deviation(want));
  }
  Encoder encoder = must(Encoder::create(model));
  const auto embeddings = must(encoder.embed(inputs, model.default_embedding()));
  const auto want = values_of<float>(golden, "embeddings");
  REQUIRE(embeddings.size() == want.size());
  CHECK(largest_difference(embeddings, want) < 1e-5);
  CHECK(states_of(must(open_any(checkpoint()))) == states);
}

TEST_CASE("EmbeddingGemma gives the same bits with any threads, alone and among others") {
  ModelOptions options;
  const auto one = states_of(must(open_any(checkpoint(), options)));
  options.threads = 3;
  const Model three = must(open_any(checkpoint(), options));
  CHECK(states_of(three) == one);
  Encoder encoder = must(Encoder::create(three));
  const auto inputs = inputs_of(three);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Status ran = encoder.run({&inputs[i], 1}, [&](std::size_t, const EncoderOutput& output) {
      CHECK(std::vector<float>(output.hidden.begin(), output.hidden.end()) == one[i]);
      return Status();
    });
    CHECK(ran.ok());
  }
  const TempFolder folder;
  must(convert(checkpoint(), folder.file("q8.quern"), plain_options("q8")));
  const auto coded = states_of(must(Model::open(folder.file("q8.quern"))));
  CHECK(largest_difference(coded[1], one[1]) < 0.5 * deviation(one[1]));
}

TEST_CASE("the window of EmbeddingGemma is half on either side, and matters") {
  const auto plain = states_of(must(open_any(checkpoint())));
  const TempFolder odd;  // Of 9 tokens each side has 4 too, as transformers rounds.
  CHECK(states_of(must(open_any(changed(odd, "\"sliding_window\": 8", "\"sliding_window\": 9")))) ==
        plain);
  const TempFolder wider;
  const auto other =
      states_of(must(open_any(changed(wider, "\"sliding_window\": 8", "\"sliding_window\": 10"))));
  CHECK(other[0] == plain[0]);  // A text that fits into either.
  CHECK(largest_difference(other[1], plain[1]) > 1e-2);
  const TempFolder single;
  const auto refused = open_any(changed(single, "\"sliding_window\": 8", "\"sliding_window\": 1"));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().field == "sliding_window");
}

TEST_CASE("a Gemma 3 without an output matrix that looks back alone is refused by name") {
  const TempFolder folder;
  const auto refused = open_any(changed(folder, "\"use_bidirectional_attention\": true",
                                        "\"use_bidirectional_attention\": false"));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kUnsupported);
  CHECK(refused.error().field == "use_bidirectional_attention");
  const auto gguf = convert(checkpoint(), folder.file("a.gguf"), plain_options());
  REQUIRE_FALSE(gguf.ok());
  CHECK(gguf.error().code == ErrorCode::kUnsupported);
}

}  // namespace quern::convert::test
