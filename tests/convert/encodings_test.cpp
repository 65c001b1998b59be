// The published reference checkpoints in every encoding: what is stored is what the encoding's own
// arithmetic makes of the source's numbers, placed by a second, naive reading of the tables.
#include <doctest/doctest.h>

#include <cstring>

#include "fixtures.h"
#include "formats/checkpoint_dir.h"
#include "formats/quern_file.h"
#include "models/architecture.h"

namespace quern::convert::test {
namespace {

using formats::SafeTensor;
using models::ExpectedTensor;

/// A source tensor as floats, changed as its rule says.
std::vector<float> naive_values(const SafeTensor& tensor, const ExpectedTensor& expected) {
  const Encoding encoding = *tensor.dtype->encoding;
  std::vector<float> values(static_cast<std::size_t>(expected.rows * expected.cols));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t word = 0;
    if (encoding == Encoding::kF32) {
      std::memcpy(&values[i], tensor.data.data() + 4 * i, 4);
    } else {
      std::memcpy(&word, tensor.data.data() + 2 * i, 2);
      values[i] = encoding == Encoding::kBF16 ? quant::bf16_to_f32(static_cast<std::uint16_t>(word))
                                              : quant::f16_to_f32(static_cast<std::uint16_t>(word));
    }
    if (expected.rule->hf_transform == models::Transform::kAddOne) values[i] += 1.0F;
  }
  return values;
}

const SafeTensor* find_tensor(const formats::SafetensorsFile& file,
                              const ExpectedTensor& expected) {
  for (const auto& name : expected.hf_names) {
    for (const std::string prefix : {"model.", ""}) {
      if (const auto* found = file.find(prefix + name)) return found;
    }
  }
  return nullptr;
}

/// The bytes that a matrix has in panels of `encoding`.
std::string naive_panels(const std::vector<float>& values, std::int64_t rows, std::int64_t cols,
                         Encoding encoding) {
  const quant::EncodingOps& ops = *quant::find_ops(encoding);
  const auto bytes =
      panel_bytes(*find_encoding(encoding), static_cast<std::uint64_t>(cols)).value();
  std::string out;
  for (std::int64_t first = 0; first < rows; first += 16) {
    std::vector<float> rows16(static_cast<std::size_t>(16 * cols));
    const auto count = std::min<std::int64_t>(16, rows - first) * cols;
    std::copy_n(values.begin() + first * cols, count, rows16.begin());
    std::string panel(bytes, '\0');
    ops.quantize_panel(rows16.data(), cols, {}, reinterpret_cast<std::byte*>(panel.data()));
    out += panel;
  }
  return out;
}

void check_model(const std::string& name, const std::string& encoding) {
  CAPTURE(name);
  CAPTURE(encoding);
  const auto path = golden(name);
  if (!path) return;
  const TempFolder folder;
  const std::string output = folder.file("out.quern");
  const auto report = convert(*path, output, plain_options(encoding));
  REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().describe()));
  const auto file = formats::QuernFile::open(output);
  REQUIRE(file.ok());
  CHECK(file->verify_checksums().ok());
  CHECK(report->weights_hash == file->weights_hash());
  CHECK(report->plan.output_bytes == file->file_bytes());

  const auto source = formats::CheckpointDir::open(*path);
  REQUIRE(source.ok());
  const auto& architecture = *models::find_architecture(report->plan.architecture);
  const auto config = architecture.read_config(source->config, models::SourceKind::kHuggingFace);
  REQUIRE(config.ok());
  const auto expected = models::expected_tensors(architecture, *config);
  REQUIRE(expected.ok());
  std::size_t seen = 0;
  for (const ExpectedTensor& tensor : *expected) {
    const SafeTensor* from = find_tensor(*source->weights, tensor);
    const auto* stored = file->find(tensor.name);
    REQUIRE((from == nullptr) == (stored == nullptr));
    if (from == nullptr) continue;
    ++seen;
    CAPTURE(tensor.name);
    const auto values = naive_values(*from, tensor);
    const std::string_view bytes(reinterpret_cast<const char*>(stored->data.data()),
                                 stored->data.size());
    if (tensor.rule->role == models::Role::kVector) {
      CHECK(stored->encoding == Encoding::kF32);
      CHECK(bytes ==
            std::string_view(reinterpret_cast<const char*>(values.data()), 4 * values.size()));
      continue;
    }
    if (encoding == "keep") CHECK(stored->encoding == *from->dtype->encoding);
    CHECK(bytes == naive_panels(values, tensor.rows, tensor.cols, stored->encoding));
  }
  CHECK(seen == file->tensors().size());
  CHECK(seen == report->plan.tensors.size());
}

TEST_CASE("every reference checkpoint is stored as each encoding's own arithmetic says") {
  for (const std::string& name : golden_names()) {
    check_model(name, "keep");
    for (const char* preset : {"q8", "q4"}) check_model(name, preset);
  }
  for (const quant::EncodingOps& ops : quant::all_ops()) {
    if (ops.quantize_panel == nullptr) continue;
    check_model("llama2", std::string(find_encoding(ops.id)->name));
    check_model("gemma3_text", std::string(find_encoding(ops.id)->name));
  }
}

TEST_CASE("a checkpoint in the spelling of transformers 4 gives the same weights") {
  for (const std::string& name : golden_names()) {
    const auto path = golden(name);
    if (!path || !std::filesystem::exists(*path + "/config_v4.json")) continue;
    const TempFolder folder;
    std::filesystem::create_directory(folder.file("v4"));
    std::filesystem::copy(*path + "/config_v4.json", folder.file("v4/config.json"));
    std::filesystem::create_symlink(*path + "/model.safetensors",
                                    folder.file("v4/model.safetensors"));
    const auto a = convert(*path, folder.file("a.quern"), plain_options());
    const auto b = convert(folder.file("v4"), folder.file("b.quern"), plain_options());
    REQUIRE(a.ok());
    REQUIRE_MESSAGE(b.ok(), (b.ok() ? "" : b.error().describe()));
    CHECK(a->weights_hash == b->weights_hash);
  }
}

TEST_CASE("one safetensors file is read with the configuration beside it") {
  const auto path = golden("qwen3");
  if (!path) return;
  const TempFolder folder;
  const auto a = convert(*path, folder.file("a.quern"), plain_options());
  const auto b = convert(*path + "/model.safetensors", folder.file("b.quern"), plain_options());
  REQUIRE(a.ok());
  REQUIRE(b.ok());
  CHECK(a->weights_hash == b->weights_hash);
}

TEST_CASE("the result depends neither on threads nor on the run") {
  const auto path = golden("llama3");
  if (!path) return;
  for (const char* encoding : {"keep", "q4", "q4_k", "f16"}) {
    const TempFolder folder;
    std::vector<std::string> bytes;
    for (const int threads : {1, 2, 3, 1}) {
      const std::string output = folder.file("out.quern");
      REQUIRE(convert(*path, output, plain_options(encoding, threads)).ok());
      bytes.push_back(read_bytes(output));
    }
    CHECK(bytes[0] == bytes[1]);
    CHECK(bytes[0] == bytes[2]);
    CHECK(bytes[0] == bytes[3]);
  }
}

}  // namespace
}  // namespace quern::convert::test
