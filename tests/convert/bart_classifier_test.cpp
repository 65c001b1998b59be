// BART's classifier of texts. Its stacks are the golden BART's, and its head reads logits that the
// golden's own output gives through a session, which transformers' states have verified.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "fixtures.h"
#include "formats/json.h"
#include "formats/json_value.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "quern/encoder.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

constexpr std::size_t kDim = 64, kLabels = 3;
constexpr TokenId kStart = 2;
constexpr float kSqueeze = 0.05F;  ///< Keeps tanh off its ends.
const std::vector<std::vector<TokenId>> kTexts = {{0, 17, 203, 5, 64, 118, 9, 2}, {0, 44, 2}};

std::vector<float> numbers(std::size_t n, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
  return values;
}

std::vector<float> floats_of(const formats::SafetensorsFile& file, const std::string& name) {
  const formats::SafeTensor* tensor = file.find(name);
  REQUIRE_MESSAGE(tensor != nullptr, name);
  std::vector<float> values(tensor->data.size() / sizeof(float));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

/// The golden as a classifier: head.dense is kSqueeze times the first rows of the embedding.
class Classifier {
 public:
  explicit Classifier(const std::string& golden_folder)
      : golden_(golden_folder),
        file_(must(formats::SafetensorsFile::open(golden_folder + "/model.safetensors"))),
        dense_bias_(numbers(kDim, 1)),
        out_(numbers(kLabels * kDim, 2)),
        out_bias_(numbers(kLabels, 3)) {}

  /// \param start the configuration's decoder_start_token_id.
  std::string write(const TempFolder& folder, std::int64_t start = kStart) const {
    const std::string path = folder.file("classifier-" + std::to_string(start));
    std::filesystem::create_directory(path);
    formats::Json config = must(formats::read_json_file(golden_ + "/config.json"));
    config["architectures"] = formats::Json::array();
    config["architectures"].push_back("BartForSequenceClassification");
    config["decoder_start_token_id"] = start;
    write_bytes(path + "/config.json", formats::dump_json(config));
    write_weights(path + "/model.safetensors");
    return path;
  }

  /// What the head makes of the golden's logits behind the last token of a text.
  std::vector<float> expected(const Model& golden, const std::vector<TokenId>& text) const {
    Session session = must(Session::create(golden));
    must(session.read_source(text));
    std::vector<TokenId> taught = {kStart};
    taught.insert(taught.end(), text.begin(), text.end() - 1);
    const auto last = must(session.step(taught));
    const std::vector<float> bias = floats_of(file_, "final_logits_bias");
    std::vector<float> labels = out_bias_;
    for (std::size_t r = 0; r < kDim; ++r) {
      const float inner = std::tanh(kSqueeze * (last[r] - bias[r]) + dense_bias_[r]);
      for (std::size_t l = 0; l < kLabels; ++l) labels[l] += out_[l * kDim + r] * inner;
    }
    return labels;
  }

 private:
  void write_weights(const std::string& path) const {
    std::vector<float> dense = floats_of(file_, "model.shared.weight");
    dense.resize(kDim * kDim);
    for (float& value : dense) value *= kSqueeze;
    const formats::SafeDtype& f32 = *formats::find_safe_dtype("F32");
    auto writer = must(formats::SafetensorsWriter::create(path));
    for (const formats::SafeTensor& tensor : file_.tensors()) {
      if (tensor.name == "final_logits_bias") continue;
      REQUIRE(writer.declare_tensor(std::string(tensor.name), *tensor.dtype, tensor.shape).ok());
    }
    const struct {
      const char* name;
      const std::vector<float>& values;
      std::vector<std::uint64_t> shape;
    } head[] = {{"dense.weight", dense, {kDim, kDim}},
                {"dense.bias", dense_bias_, {kDim}},
                {"out_proj.weight", out_, {kLabels, kDim}},
                {"out_proj.bias", out_bias_, {kLabels}}};
    for (const auto& part : head) {
      const std::string name = std::string("classification_head.") + part.name;
      REQUIRE(writer.declare_tensor(name, f32, part.shape).ok());
    }
    REQUIRE(writer.begin().ok());
    for (const formats::SafeTensor& tensor : file_.tensors()) {
      if (tensor.name != "final_logits_bias") REQUIRE(writer.write(tensor.data).ok());
    }
    for (const auto& part : head) REQUIRE(writer.write(std::as_bytes(std::span(part.values))).ok());
    REQUIRE(writer.finish().ok());
  }

  std::string golden_;
  formats::SafetensorsFile file_;
  std::vector<float> dense_bias_, out_, out_bias_;
};

/// The labels' logits of every text.
std::vector<std::vector<float>> classify(const Model& model,
                                         const std::vector<std::vector<TokenId>>& texts) {
  Encoder encoder = must(Encoder::create(model));
  std::vector<EncoderInput> inputs;
  for (const auto& text : texts) inputs.push_back({text, {}});
  std::vector<std::vector<float>> found;
  const Status done = encoder.run(inputs, [&](std::size_t, const EncoderOutput& output) {
    CHECK(!output.per_token);
    found.emplace_back(output.logits.begin(), output.logits.end());
    return Status();
  });
  REQUIRE(done.ok());
  return found;
}

}  // namespace

TEST_CASE("BART's classifier reads the decoder's state of a text's end") {
  const auto folder = golden("bart");
  if (!folder) return;
  const TempFolder temp;
  const Classifier classifier(*folder);
  must(convert(classifier.write(temp), temp.file("a.quern"), plain_options()));
  const Model model = must(Model::open(temp.file("a.quern")));
  CHECK(model.is_encoder());
  CHECK(!model.is_encoder_decoder());
  const Model generator = must(open_any(*folder));
  const auto found = classify(model, kTexts);
  REQUIRE(found.size() == kTexts.size());
  std::vector<std::vector<float>> expected;
  for (std::size_t i = 0; i < kTexts.size(); ++i) {
    expected.push_back(classifier.expected(generator, kTexts[i]));
    CHECK(largest_difference(found[i], expected[i]) < 2e-4);
  }
  CHECK(largest_difference(expected[0], expected[1]) > 0.01);
}

TEST_CASE("a classified text's bits depend on neither threads nor companions") {
  const auto folder = golden("bart");
  if (!folder) return;
  const TempFolder temp;
  const std::string source = Classifier(*folder).write(temp);
  for (const char* encoding : {"keep", "qr8"}) {
    CAPTURE(encoding);
    must(convert(source, temp.file("a.quern"), plain_options(encoding)));
    const auto both = classify(must(Model::open(temp.file("a.quern"), {.threads = 1})), kTexts);
    for (const int threads : {2, 3}) {
      const Model model = must(Model::open(temp.file("a.quern"), {.threads = threads}));
      CHECK(classify(model, {kTexts[1], kTexts[0]}) ==
            std::vector<std::vector<float>>{both[1], both[0]});
      CHECK(classify(model, {kTexts[0]}).front() == both[0]);
    }
  }
}

TEST_CASE("a classifier's first token must be one of the vocabulary") {
  const auto folder = golden("bart");
  if (!folder) return;
  const TempFolder temp;
  const std::string source = Classifier(*folder).write(temp, 259);
  must(convert(source, temp.file("a.quern"), plain_options()));
  const auto model = Model::open(temp.file("a.quern"));
  REQUIRE(!model.ok());
  CHECK(model.error().code == ErrorCode::kOutOfRange);
  CHECK(model.error().field == "decoder_start_token_id");
}

}  // namespace quern::convert::test
