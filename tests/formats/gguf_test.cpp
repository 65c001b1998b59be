#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "formats/byte_reader.h"
#include "formats/gguf_reader.h"
#include "formats/gguf_writer.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

TEST_CASE("every metadata type of a GGUF file is read") {
  const SmallGguf small = small_gguf();
  const auto file = GgufFile::from_bytes(as_bytes(small.bytes), "small");
  REQUIRE(file.ok());
  CHECK(file->version() == 3);
  CHECK(file->alignment() == 64);
  const Config& config = file->config();
  CHECK(config.string("general.architecture").value() == "llama");
  CHECK(config.integer("t.u8").value() == 200);
  CHECK(config.integer("t.i8").value() == -100);
  CHECK(config.integer("t.u16").value() == 60000);
  CHECK(config.integer("t.i16").value() == -30000);
  CHECK(config.integer("t.u32").value() == 4000000000);
  CHECK(config.integer("t.i32").value() == -2000000000);
  CHECK(config.number("t.f32").value() == 1e-5);
  CHECK(config.boolean("t.bool").value());
  CHECK(config.number("t.u64").value() == 18446744073709551615.0);
  CHECK(config.integer("t.i64").value() == -5);
  CHECK(config.number("t.f64").value() == 0.1);
  CHECK_FALSE(config.has("tokenizer.ggml.tokens"));
  CHECK(file->entries().size() == 19);
  const auto tokens = file->array("tokenizer.ggml.tokens");
  REQUIRE(tokens.ok());
  std::vector<std::string_view> texts;
  const auto strings = tokens->strings();
  REQUIRE(strings.ok());
  for (const std::string_view text : *strings) texts.push_back(text);
  CHECK(texts == std::vector<std::string_view>{"<s>", "",
                                               "\xe2\x96\x81"
                                               "a"});
  CHECK(file->array("tokenizer.ggml.scores")->floats().value() == std::vector<float>{0, -1, -2.5f});
  CHECK(file->array("tokenizer.ggml.token_type")->integers().value() ==
        std::vector<std::int64_t>{3, 1, 1});
  CHECK(file->array("t.bools")->integers().value() == std::vector<std::int64_t>{1, 0});
}

TEST_CASE("an array asked for as another type is an error, not a cast") {
  const SmallGguf small = small_gguf();
  const auto file = GgufFile::from_bytes(as_bytes(small.bytes), "small");
  REQUIRE(file.ok());
  const auto code = [](const auto& result) {
    return result.ok() ? ErrorCode::kInternal : result.error().code;
  };
  CHECK(code(file->array("tokenizer.ggml.scores")->integers()) == ErrorCode::kMismatch);
  CHECK(code(file->array("tokenizer.ggml.scores")->strings()) == ErrorCode::kMismatch);
  CHECK(code(file->array("tokenizer.ggml.token_type")->floats()) == ErrorCode::kMismatch);
  CHECK(code(file->array("tokenizer.ggml.tokens")->integer(0)) == ErrorCode::kMismatch);
  CHECK(code(file->array("tokenizer.ggml.scores")->number(3)) == ErrorCode::kOutOfRange);
  CHECK(code(file->array("t.u8")) == ErrorCode::kMismatch);
  CHECK(code(file->array("absent")) == ErrorCode::kMissing);
}

TEST_CASE("a GGUF file written from what was read is the same file") {
  const SmallGguf small = small_gguf();
  const auto file = GgufFile::from_bytes(as_bytes(small.bytes), "small");
  REQUIRE(file.ok());
  const TempDir dir;
  auto writer = GgufWriter::create(dir.file("b.gguf"), file->alignment());
  REQUIRE(writer.ok());
  for (const GgufEntry& entry : file->entries()) REQUIRE(writer->add_entry(entry).ok());
  for (const GgufTensor& tensor : file->tensors()) {
    const std::span<const std::uint64_t> ne(tensor.ne.data(),
                                            static_cast<std::size_t>(tensor.n_dims));
    REQUIRE(writer->declare_tensor(tensor.name, ne, *tensor.type).ok());
  }
  REQUIRE(writer->begin().ok());
  for (const GgufTensor& tensor : file->tensors()) {
    REQUIRE(writer->write(tensor.data.first(3)).ok());
    REQUIRE(writer->write(tensor.data.subspan(3)).ok());
  }
  REQUIRE(writer->finish().ok());
  CHECK(dir.read("b.gguf").size() == writer->total_bytes());
  const auto back = GgufFile::open(dir.file("b.gguf"));
  REQUIRE(back.ok());
  // The writer puts the alignment first; everything else stands as it stood.
  REQUIRE(back->entries().size() == file->entries().size());
  for (const GgufEntry& entry : file->entries()) {
    const GgufEntry* twin = back->find(entry.key);
    REQUIRE(twin != nullptr);
    CHECK(twin->type == entry.type);
    CHECK(as_text(twin->value) == as_text(entry.value));
  }
  for (const GgufTensor& tensor : file->tensors()) {
    const GgufTensor* twin = back->find_tensor(tensor.name);
    REQUIRE(twin != nullptr);
    CHECK(twin->ne == tensor.ne);
    CHECK(as_text(twin->data) == as_text(tensor.data));
  }
}

TEST_CASE("the GGUF writer takes typed values and refuses wrong use") {
  MemorySink sink;
  auto writer = GgufWriter::to_sink(sink);
  REQUIRE(writer.ok());
  REQUIRE(writer->add_string("general.architecture", "llama").ok());
  REQUIRE(writer->add_unsigned("n", 7).ok());
  REQUIRE(writer->add_integer("i", -1).ok());
  REQUIRE(writer->add_float("f", 0.5).ok());
  REQUIRE(writer->add_bool("b", true).ok());
  const std::array<std::string_view, 2> texts{"x", ""};
  const std::array<float, 2> floats{1, 2};
  const std::array<std::int64_t, 2> numbers{1, 300};
  REQUIRE(writer->add_strings("s", texts).ok());
  REQUIRE(writer->add_floats("fs", floats).ok());
  REQUIRE(writer->add_integers("is", numbers).ok());
  CHECK_FALSE(writer->add_integers("u8s", numbers, GgufType::kU8).ok());
  CHECK_FALSE(writer->add_integer("u", -1, GgufType::kU32).ok());
  CHECK_FALSE(writer->add_float("g", 1, GgufType::kI32).ok());
  CHECK_FALSE(writer->add_unsigned("n", 7).ok());
  CHECK_FALSE(writer->add_unsigned("", 7).ok());
  const std::array<std::uint64_t, 2> ne{32, 3};
  const std::array<std::uint64_t, 1> odd{33};
  CHECK_FALSE(writer->declare_tensor("t", odd, *find_ggml_type(2)).ok());
  CHECK_FALSE(writer->declare_tensor(std::string(64, 't'), ne, *find_ggml_type(2)).ok());
  REQUIRE(writer->declare_tensor("t", ne, *find_ggml_type(2)).ok());
  CHECK_FALSE(writer->declare_tensor("t", ne, *find_ggml_type(2)).ok());
  REQUIRE(writer->begin().ok());
  CHECK_FALSE(writer->finish().ok());
  REQUIRE(writer->write(as_bytes(std::string(54, 'q'))).ok());
  REQUIRE(writer->finish().ok());
  const auto file = GgufFile::from_bytes(sink.bytes(), "memory");
  REQUIRE(file.ok());
  CHECK(file->config().integer("i").value() == -1);
  CHECK(file->array("is")->integer(1).value() == 300);
  CHECK_FALSE(GgufWriter::to_sink(sink, 48).ok());
}

TEST_CASE("a string that is only known after the data takes the place of reserved blanks") {
  MemorySink sink;
  auto writer = GgufWriter::to_sink(sink);
  REQUIRE(writer.ok());
  REQUIRE(writer->add_unsigned("before", 1).ok());
  CHECK_FALSE(writer->fill_reserved("early").ok());
  REQUIRE(writer->reserve_string("late", 10).ok());
  CHECK_FALSE(writer->reserve_string("later", 10).ok());
  REQUIRE(writer->add_unsigned("after", 2).ok());
  const std::array<std::uint64_t, 2> ne{32, 3};
  REQUIRE(writer->declare_tensor("t", ne, *find_ggml_type(2)).ok());
  REQUIRE(writer->begin().ok());
  REQUIRE(writer->write(as_bytes(std::string(54, 'q'))).ok());
  REQUIRE(writer->seal().ok());
  const auto long_text = writer->fill_reserved("eleven byte");
  REQUIRE_FALSE(long_text.ok());
  CHECK(long_text.error().code == ErrorCode::kLimit);
  REQUIRE(writer->fill_reserved("{\"a\": 1}").ok());
  REQUIRE(writer->finish().ok());
  const auto file = GgufFile::from_bytes(sink.bytes(), "memory");
  REQUIRE(file.ok());
  CHECK(sink.bytes().size() == writer->total_bytes());
  CHECK(file->config().string("late").value() == "{\"a\": 1}  ");
  CHECK(file->config().integer("before").value() == 1);
  CHECK(file->config().integer("after").value() == 2);
}

TEST_CASE("a GGUF file with a vocabulary alone, and one of version 2, are read") {
  ByteBuilder body;
  body.string("key", "a").number<std::uint32_t>("type", 4).number<std::uint32_t>("value", 1);
  std::string bytes = gguf_with(0, 1, body.bytes);
  CHECK(GgufFile::from_bytes(as_bytes(bytes), "x").ok());
  bytes[4] = 2;
  CHECK(GgufFile::from_bytes(as_bytes(bytes), "x").ok());
}

TEST_CASE("every ggml type's encoding maps back to it") {
  for (const GgmlType& type : ggml_types()) {
    if (type.encoding) CHECK(ggml_type_of(*type.encoding) == &type);
  }
  CHECK(ggml_type_of(Encoding::kQR4) == nullptr);
}
