// A masked-word head whose output layer is its own: neither the embedding nor the head's bias.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "encoder_runner.h"
#include "formats/json.h"
#include "support/must.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::test;
using quern::testing::must;

namespace {

constexpr float kBiasStep = 3.0F;
const std::string kTied = std::string(QUERN_GOLDENS_DIR) + "/models/bert_mlm";
const std::string kEmbedding = "bert.embeddings.word_embeddings.weight";
const std::string kMatrix = "cls.predictions.decoder.weight";
const std::string kHeadBias = "cls.predictions.bias", kOwnBias = "cls.predictions.decoder.bias";

struct NamedFloats {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<float> values;
};

void write_safetensors(const std::string& path, const std::vector<NamedFloats>& tensors) {
  formats::Json header = formats::Json::object();
  std::string data;
  for (const NamedFloats& tensor : tensors) {
    const std::size_t first = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()), 4 * tensor.values.size());
    header[tensor.name] = {
        {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {first, data.size()}}};
  }
  const std::string text = formats::dump_json(header);
  const std::uint64_t size = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), sizeof size);
  out << text << data;
}

/// The tied checkpoint with an output layer of twice the embedding and a bias `kBiasStep` higher.
void write_untied(const std::string& directory) {
  const auto file = must(formats::SafetensorsFile::open(kTied + "/model.safetensors"));
  std::vector<NamedFloats> tensors;
  for (const formats::SafeTensor& tensor : file.tensors()) {
    tensors.push_back({tensor.name, tensor.shape, golden_floats(file, tensor.name)});
  }
  NamedFloats matrix{kMatrix, file.find(kEmbedding)->shape, golden_floats(file, kEmbedding)};
  for (float& value : matrix.values) value *= 2.0F;
  NamedFloats bias{kOwnBias, file.find(kHeadBias)->shape, golden_floats(file, kHeadBias)};
  for (float& value : bias.values) value += kBiasStep;
  tensors.push_back(std::move(matrix));
  tensors.push_back(std::move(bias));
  write_safetensors(directory + "/model.safetensors", tensors);
  formats::Json config = must(formats::read_json_file(kTied + "/config.json"));
  config["tie_word_embeddings"] = false;
  std::ofstream(directory + "/config.json") << formats::dump_json(config);
}

std::vector<float> logits_of(const std::string& directory, const std::vector<Text>& texts) {
  const GoldenModel model = must(GoldenModel::load(directory, "config.json"));
  EncoderRunner runner = must(EncoderRunner::create(model, 1));
  REQUIRE(runner.run(texts).ok());
  return runner.output("logits", 0);
}

}  // namespace

TEST_CASE("an untied masked-word head uses its own matrix and its own bias") {
  if (!std::filesystem::exists(kTied)) return;
  const auto golden = must(formats::SafetensorsFile::open(kTied + "/golden.safetensors"));
  const auto stored = must(formats::SafetensorsFile::open(kTied + "/model.safetensors"));
  const std::vector<Text> texts = golden_texts(golden);
  const std::vector<float> bias = golden_floats(stored, kHeadBias);
  const testing::TempDir folder;
  write_untied(folder.path());
  const std::vector<float> tied = logits_of(kTied, texts), own = logits_of(folder.path(), texts);
  REQUIRE(own.size() == tied.size());
  for (std::size_t i = 0; i < own.size(); ++i) {
    const float b = bias[i % bias.size()];
    CHECK(own[i] == doctest::Approx(2.0F * (tied[i] - b) + b + kBiasStep).epsilon(1e-5));
  }
}
