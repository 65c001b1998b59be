// The layers and poolings of sentence-transformers against its own embeddings. sentence/make.py
// made what is compared with, over the golden `bert`.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "fixtures.h"
#include "formats/json.h"
#include "formats/safetensors_reader.h"
#include "quern/encoder.h"

namespace quern::convert::test {
namespace {

constexpr double kTolerance = 2e-5;  // Of numbers whose rows have a length near one.
constexpr const char* kCases[] = {"dense", "no_bias", "two_dense",    "residual", "weighted",
                                  "last",  "joined",  "joined_dense", "rows",     "twice"};

std::string sentence_folder() { return fixture("../sentence"); }

/// The golden encoder in a folder of its own, with the modules of a case around it.
struct Checkpoint {
  TempFolder folder;
  bool there = false;

  explicit Checkpoint(const std::string& name) {
    const auto source = golden("bert");
    if (!source) return;
    namespace fs = std::filesystem;
    for (const char* file : {"config.json", "model.safetensors"})
      fs::copy_file(*source + "/" + file, folder.file(file));
    fs::copy_file(sentence_folder() + "/tokenizer.json", folder.file("tokenizer.json"));
    fs::copy(sentence_folder() + "/" + name, folder.path(), fs::copy_options::recursive);
    there = true;
  }
  /// Replaces `from` in one of the folder's files.
  void change(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = read_bytes(folder.file(file));
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    write_bytes(folder.file(file), text.replace(at, from.size(), to));
  }
  Error refusal() const {
    const auto model = open_any(folder.path());
    REQUIRE_FALSE(model.ok());
    return model.error();
  }
};

std::vector<EncoderInput> inputs_of(const Model& model) {
  const auto texts = must(formats::read_json_file(sentence_folder() + "/texts.json"));
  std::vector<EncoderInput> inputs;
  for (const formats::Json& text : texts) inputs.push_back(must(model.encode_text(text.string())));
  return inputs;
}

std::vector<float> embeddings_of(const Model& model) {
  Encoder encoder = must(Encoder::create(model));
  return must(encoder.embed(inputs_of(model), model.default_embedding()));
}

std::vector<float> golden_of(const std::string& name) {
  const auto file =
      must(formats::SafetensorsFile::open(sentence_folder() + "/" + name + "/golden.safetensors"));
  const formats::SafeTensor* tensor = file.find("embeddings");
  REQUIRE(tensor != nullptr);
  std::vector<float> values(tensor->data.size() / sizeof(float));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

}  // namespace

TEST_CASE("every order of modules gives sentence-transformers' embeddings") {
  for (const char* name : kCases) {
    CAPTURE(name);
    const Checkpoint checkpoint(name);
    if (!checkpoint.there) return;
    const std::vector<float> want = golden_of(name);
    const std::string path = checkpoint.folder.file("out.quern");
    must(convert(checkpoint.folder.path(), path, plain_options()));
    const Model model = must(Model::open(path));
    const std::vector<float> got = embeddings_of(model);
    REQUIRE(got.size() == want.size());
    CHECK(largest_difference(got, want) < kTolerance);
    CHECK(got == embeddings_of(must(open_any(checkpoint.folder.path()))));
    must(convert(path, checkpoint.folder.file("again.quern"), plain_options()));
    CHECK(got == embeddings_of(must(Model::open(checkpoint.folder.file("again.quern")))));
  }
}

TEST_CASE("a transformer of a class with a head for words is one without where its file has none") {
  const Checkpoint checkpoint("dense");
  if (!checkpoint.there) return;
  checkpoint.change("config.json", "\"BertModel\"", "\"BertForMaskedLM\"");
  const Model model = must(open_any(checkpoint.folder.path()));
  CHECK(largest_difference(embeddings_of(model), golden_of("dense")) < kTolerance);
  // Without modules around it the checkpoint is incomplete.
  std::filesystem::remove(checkpoint.folder.file("modules.json"));
  const Error refused = checkpoint.refusal();
  CHECK(refused.code == ErrorCode::kMissing);
  CHECK(refused.field == "head.dense");
}

TEST_CASE("layers around the pooling give a text the same bits alone and with any threads") {
  for (const char* name : {"two_dense", "rows", "joined_dense"}) {
    CAPTURE(name);
    const Checkpoint checkpoint(name);
    if (!checkpoint.there) return;
    ModelOptions options;
    options.threads = 3;
    const Model one = must(open_any(checkpoint.folder.path()));
    const Model three = must(open_any(checkpoint.folder.path(), options));
    const std::vector<float> together = embeddings_of(one);
    CHECK(together == embeddings_of(three));
    Encoder encoder = must(Encoder::create(three));
    std::vector<float> alone;
    for (const EncoderInput& input : inputs_of(three)) {
      const auto embedding = must(encoder.embed({&input, 1}, three.default_embedding()));
      alone.insert(alone.end(), embedding.begin(), embedding.end());
    }
    CHECK(together == alone);
  }
}

TEST_CASE("layers around the pooling take 8 bits") {
  const Checkpoint checkpoint("joined_dense");
  if (!checkpoint.there) return;
  must(convert(checkpoint.folder.path(), checkpoint.folder.file("q8.quern"), plain_options("q8")));
  const Model model = must(Model::open(checkpoint.folder.file("q8.quern")));
  const auto tensors = model.tensors();
  const auto dense = std::find_if(tensors.begin(), tensors.end(), [](const TensorInfo& tensor) {
    return tensor.name == "sentence.1.dense";
  });
  REQUIRE(dense != tensors.end());
  CHECK(dense->encoding != Encoding::kF32);
  const double difference = largest_difference(embeddings_of(model), golden_of("joined_dense"));
  CHECK(difference < 0.1);
  CHECK(difference > 1e-6);
}

TEST_CASE("a caller's pooling must fit the layers behind it") {
  const Checkpoint checkpoint("dense");
  if (!checkpoint.there) return;
  const Model model = must(open_any(checkpoint.folder.path()));
  Encoder encoder = must(Encoder::create(model));
  const std::vector<EncoderInput> inputs = inputs_of(model);
  EmbeddingOptions options = model.default_embedding();
  CHECK(options.normalize);
  options.pooling = Pooling::kMax;
  const auto other = must(encoder.embed(inputs, options));
  CHECK(other.size() == golden_of("dense").size());
  CHECK(largest_difference(other, golden_of("dense")) > 0.01);
  options.joined = {Pooling::kFirst};
  const auto wide = encoder.embed(inputs, options);
  REQUIRE_FALSE(wide.ok());
  CHECK(wide.error().code == ErrorCode::kMismatch);
  CHECK(wide.error().expected == "96 columns");
  CHECK(wide.error().found == "192");
}

TEST_CASE("GGUF has no words for layers or several poolings, and nothing is written") {
  for (const char* name : {"dense", "joined", "weighted"}) {
    CAPTURE(name);
    const Checkpoint checkpoint(name);
    if (!checkpoint.there) return;
    const auto report = convert(checkpoint.folder.path(), checkpoint.folder.file("out.gguf"));
    REQUIRE_FALSE(report.ok());
    CHECK(report.error().code == ErrorCode::kUnsupported);
    CHECK_FALSE(std::filesystem::exists(checkpoint.folder.file("out.gguf")));
  }
}

TEST_CASE("modules that do not fit, lie elsewhere or are not known are refused by name") {
  struct Row {
    const char *name, *file, *from, *to, *field;
    ErrorCode code;
  };
  const Row rows[] = {
      {"dense", "2_Dense/config.json", "96", "95", "in_features", ErrorCode::kMismatch},
      {"dense", "2_Dense/config.json", "8", "9", "sentence.0.linear.weight", ErrorCode::kMismatch},
      {"dense", "2_Dense/config.json", "activation.Tanh", "activation.Mish", "activation_function",
       ErrorCode::kUnsupported},
      {"dense", "2_Dense/config.json", "torch.nn", "my.nn", "activation_function",
       ErrorCode::kUnsupported},
      {"dense", "2_Dense/config.json", "sentence_embedding", "cls_embedding", "module_input_name",
       ErrorCode::kUnsupported},
      {"dense", "modules.json", "2_Dense", "../2_Dense", "path", ErrorCode::kMalformed},
      {"dense", "modules.json", "dense.Dense", "dense.WordWeights", "type",
       ErrorCode::kUnsupported},
      {"weighted", "1_Pooling/config.json", "weightedmean", "median", "pooling_mode",
       ErrorCode::kUnsupported},
      {"joined_dense", "4_LayerNorm/config.json", "6", "7", "dimension", ErrorCode::kMismatch},
  };
  for (const Row& row : rows) {
    CAPTURE(row.file);
    CAPTURE(row.to);
    const Checkpoint checkpoint(row.name);
    if (!checkpoint.there) return;
    checkpoint.change(row.file, row.from, row.to);
    const Error error = checkpoint.refusal();
    CHECK(error.code == row.code);
    CHECK(error.field.find(row.field) != std::string::npos);
  }
}

TEST_CASE("a module without weights, or with pickled ones, is refused") {
  const Checkpoint checkpoint("dense");
  if (!checkpoint.there) return;
  std::filesystem::remove(checkpoint.folder.file("2_Dense/model.safetensors"));
  CHECK(checkpoint.refusal().code == ErrorCode::kMissing);
  write_bytes(checkpoint.folder.file("2_Dense/pytorch_model.bin"), "PK");
  CHECK(checkpoint.refusal().code == ErrorCode::kUnsupported);
}

}  // namespace quern::convert::test
