#include <doctest/doctest.h>

#include <string>

#include "formats/byte_reader.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

namespace {

std::string one_tensor(const std::string& name) {
  return safetensors_with("{\"" + name + R"(":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})",
                          3);
}

ErrorCode open_index(const TempDir& dir, const std::string& map) {
  dir.write("model.safetensors.index.json",
            R"({"metadata":{"total_size":6},"weight_map":)" + map + "}");
  const auto file = SafetensorsFile::open(dir.file("model.safetensors.index.json"));
  return file.ok() ? ErrorCode::kInternal : file.error().code;
}

}  // namespace

TEST_CASE("what the safetensors writer writes is read back") {
  const TempDir dir;
  auto writer = SafetensorsWriter::create(dir.file("a.safetensors"));
  REQUIRE(writer.ok());
  REQUIRE(writer->add_metadata("format", "pt").ok());
  CHECK_FALSE(writer->add_metadata("format", "pt").ok());
  CHECK_FALSE(writer->add_metadata("x", "\xff").ok());
  REQUIRE(writer->declare_tensor("logits", *find_safe_dtype("F32"), {2, 3}).ok());
  REQUIRE(writer->declare_tensor("ids", *find_safe_dtype("I32"), {2}).ok());
  REQUIRE(writer->declare_tensor("none", *find_safe_dtype("U8"), {0}).ok());
  CHECK_FALSE(writer->declare_tensor("ids", *find_safe_dtype("I32"), {2}).ok());
  CHECK_FALSE(writer->declare_tensor("__metadata__", *find_safe_dtype("I32"), {2}).ok());
  CHECK_FALSE(writer->declare_tensor("big", *find_safe_dtype("I32"), {~std::uint64_t{0}}).ok());
  REQUIRE(writer->begin().ok());
  CHECK_FALSE(writer->finish().ok());
  REQUIRE(writer->write(as_bytes(std::string(24, 'f'))).ok());
  REQUIRE(writer->write(as_bytes(std::string(8, 'i'))).ok());
  CHECK_FALSE(writer->write(as_bytes("x")).ok());
  REQUIRE(writer->finish().ok());
  const auto file = SafetensorsFile::open(dir.file("a.safetensors"));
  REQUIRE(file.ok());
  CHECK(file->metadata().at("format") == "pt");
  REQUIRE(file->tensors().size() == 3);
  const SafeTensor* ids = file->find("ids");
  REQUIRE(ids != nullptr);
  CHECK(ids->dtype->encoding == Encoding::kI32);
  CHECK(as_text(ids->data) == std::string(8, 'i'));
  CHECK(file->find("logits")->shape == std::vector<std::uint64_t>{2, 3});
  CHECK(file->find("absent") == nullptr);
}

TEST_CASE("shards are seen as one checkpoint, and an index that lies is refused") {
  const TempDir dir;
  dir.write("one.safetensors", one_tensor("a"));
  dir.write("two.safetensors", one_tensor("b"));
  dir.write("twin.safetensors", one_tensor("a"));
  CHECK(open_index(dir, R"({"a":"one.safetensors","b":"two.safetensors"})") ==
        ErrorCode::kInternal);
  CHECK(open_index(dir, R"({"a":"two.safetensors","b":"one.safetensors"})") ==
        ErrorCode::kMismatch);
  CHECK(open_index(dir, R"({"a":"one.safetensors","c":"two.safetensors"})") == ErrorCode::kMissing);
  CHECK(open_index(dir, R"({"a":"one.safetensors","x":"twin.safetensors"})") ==
        ErrorCode::kMalformed);
  CHECK(open_index(dir, R"({"a":"absent.safetensors"})") == ErrorCode::kIo);
  for (const char* name : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..", ".",
                           "", "a\\\\b", "c:x"}) {
    CAPTURE(name);
    CHECK(open_index(dir, "{\"a\":\"" + std::string(name) + "\"}") == ErrorCode::kMalformed);
  }
  CHECK(open_index(dir, R"({"a":1})") == ErrorCode::kMalformed);
  CHECK(open_index(dir, "[]") == ErrorCode::kMalformed);
}
