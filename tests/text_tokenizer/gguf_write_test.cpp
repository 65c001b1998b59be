#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "convert/gguf_tokenizer.h"
#include "convert/piece_scores.h"
#include "formats/tokenizer_json.h"
#include "golden.h"
#include "text/tokenizer/image_builder.h"
#include "text/tokenizer/image_spec.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {
namespace {

/// Writes a spec to memory and opens that.
class MemorySink : public formats::ByteSink {
 public:
  Status expect_bytes(std::uint64_t) override { return {}; }
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (data.size() < offset + bytes.size()) data.resize(offset + bytes.size());
    std::copy(bytes.begin(), bytes.end(), data.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  Status commit() override { return {}; }
  const std::string& name() const noexcept override { return name_; }
  std::vector<std::byte> data;

 private:
  std::string name_ = "memory";
};

std::vector<std::byte> written(const formats::TokenizerSpec& spec,
                               const std::string& architecture = "llama") {
  MemorySink sink;
  auto writer = formats::GgufWriter::to_sink(sink);
  REQUIRE(writer.ok());
  REQUIRE(writer->add_string("general.architecture", architecture).ok());
  const Status status = convert::write_gguf_tokenizer(spec, *writer, architecture);
  REQUIRE_MESSAGE(status.ok(), status.error().describe());
  REQUIRE(writer->begin().ok());
  REQUIRE(writer->finish().ok());
  return std::move(sink.data);
}

}  // namespace

TEST_CASE("an image gives the GGUF metadata back that it was made from") {
  if (!testing::have_goldens()) return;
  for (const std::string& folder : testing::golden_folders()) {
    const std::string path = testing::golden_path(folder, "ggml-vocab-" + folder + ".gguf");
    if (!std::filesystem::exists(path)) continue;
    const auto file = formats::GgufFile::open(path);
    REQUIRE(file.ok());
    const auto spec = convert::read_gguf_tokenizer(*file);
    REQUIRE(spec.ok());
    const auto image = text::build_tokenizer_image(*spec);
    REQUIRE(image.ok());
    const auto back = text::spec_of_image(std::span<const std::byte>(*image));
    REQUIRE(back.ok());
    const auto bytes = written(*back);
    const auto again = formats::GgufFile::from_bytes(bytes, folder);
    REQUIRE_MESSAGE(again.ok(), again.error().describe());
    for (const formats::GgufEntry& entry : file->entries()) {
      if (entry.key.rfind("tokenizer.ggml.", 0) != 0) continue;
      if (entry.key == "tokenizer.ggml.token_type_count") continue;  // Of the model's embedding.
      const formats::GgufEntry* found = again->find(entry.key);
      REQUIRE_MESSAGE(found != nullptr, folder << " " << entry.key);
      const auto& want =
          entry.type == formats::GgufType::kArray ? entry.array.bytes() : entry.value;
      const auto& got =
          found->type == formats::GgufType::kArray ? found->array.bytes() : found->value;
      REQUIRE_MESSAGE(want.size() == got.size(), folder << " " << entry.key);
      CHECK_MESSAGE(std::memcmp(want.data(), got.data(), want.size()) == 0,
                    folder << " " << entry.key);
    }
  }
}

TEST_CASE("tokenizer.json becomes GGUF metadata that encodes alike") {
  if (!testing::have_goldens()) return;
  for (const char* folder :
       {"gpt-2", "qwen2", "falcon", "bert-bge", "small-llama3", "small-o200k", "small-tekken",
        "small-deepseek3", "small-llama2", "llama-spm", "phi-3"}) {
    CAPTURE(std::string(folder));
    const std::string path = testing::golden_path(folder, "tokenizer.json");
    const auto spec = formats::read_tokenizer_json_text(testing::read_file(path), path);
    REQUIRE(spec.ok());
    const auto bytes = written(*spec, std::string_view(folder) == "phi-3" ? "phi3" : "llama");
    const auto file = formats::GgufFile::from_bytes(bytes, folder);
    REQUIRE(file.ok());
    const auto again = convert::read_gguf_tokenizer(*file);
    REQUIRE_MESSAGE(again.ok(), again.error().describe());
    const auto image = text::build_tokenizer_image(*again);
    REQUIRE(image.ok());
    const auto tokenizer = text::Tokenizer::open(*image, folder);
    REQUIRE(tokenizer.ok());
    for (const testing::GoldenCase& one : testing::read_cases(folder)) {
      text::EncodeOptions options;
      options.add_special = one.add_special;
      options.parse_special = one.parse_special;
      const auto ids = tokenizer->encode(one.text, options);
      REQUIRE(ids.ok());
      CHECK_MESSAGE(*ids == one.ids, folder << " " << formats::dump_json(one.text));
    }
  }
}

TEST_CASE("BERT's letters that are not made small are written and read") {
  if (!testing::have_goldens()) return;
  const std::string path = testing::golden_path("bert-bge", "tokenizer.json");
  auto spec = formats::read_tokenizer_json_text(testing::read_file(path), path);
  REQUIRE(spec.ok());
  REQUIRE(spec->normalizers.size() == 1);
  namespace flag = formats::step_flag;
  constexpr std::uint32_t kRest = flag::kCleanText | flag::kChineseChars;
  for (const std::uint32_t letters : {0U, flag::kLower, flag::kDropAccents}) {
    spec->normalizers[0].flags = kRest | letters;
    const auto bytes = written(*spec);
    const auto file = formats::GgufFile::from_bytes(bytes, "cased");
    REQUIRE(file.ok());
    const auto again = convert::read_gguf_tokenizer(*file);
    REQUIRE(again.ok());
    CHECK(again->normalizers == spec->normalizers);
  }
}

TEST_CASE("merges that no scores of pieces say are refused") {
  if (!testing::have_goldens()) return;
  const std::string path = testing::golden_path("small-llama2", "tokenizer.json");
  auto spec = formats::read_tokenizer_json_text(testing::read_file(path), path);
  REQUIRE(spec.ok());
  REQUIRE(convert::piece_scores(*spec).has_value());
  spec->merges.pop_back();  // A piece that only SentencePiece's rule makes.
  CHECK(!convert::piece_scores(*spec).has_value());
}

TEST_CASE("a pipeline that GGUF cannot say is refused") {
  if (!testing::have_goldens()) return;
  const std::string path = testing::golden_path("small-mistral", "tokenizer.json");
  const auto spec = formats::read_tokenizer_json_text(testing::read_file(path), path);
  REQUIRE(spec.ok());
  MemorySink sink;
  auto writer = formats::GgufWriter::to_sink(sink);
  REQUIRE(writer.ok());
  const Status status = convert::write_gguf_tokenizer(*spec, *writer);
  REQUIRE(!status.ok());
  CHECK(status.error().code == ErrorCode::kUnsupported);
}

}  // namespace quern
