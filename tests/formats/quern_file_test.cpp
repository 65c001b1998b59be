#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/byte_reader.h"
#include "formats/quern_file.h"
#include "formats/quern_tail.h"
#include "formats/quern_writer.h"
#include "malformed.h"
#include "support/small_files.h"
#include "support/temp_dir.h"

using namespace quern;
using namespace quern::testing;
using namespace quern::formats;

TEST_CASE("a container gives back what was written") {
  const std::string bytes = small_quern();
  const ExactBytes exact(bytes);
  const auto file = QuernFile::from_bytes(exact.span(), "x");
  REQUIRE(file.ok());
  CHECK(file->config_json() == R"({"architecture":"tiny","dim":4})");
  CHECK(as_text(file->tokenizer()) == "tokenizer image");
  CHECK(file->chat_template() == "{{ messages[0].content }}");
  CHECK(file->generation_json() == R"({"temperature":0.5})");
  CHECK(file->report_json() == R"({"q8_0":1})");
  CHECK(as_text(file->self_test()) == "self-test");
  CHECK(file->metadata_json().empty());
  REQUIRE(file->tensors().size() == 3);
  CHECK(file->find("absent") == nullptr);
  const TensorEntry* up = file->find("mlp.up");
  REQUIRE(up != nullptr);
  CHECK(up->encoding == Encoding::kF16);
  CHECK(up->rows() == 17);
  CHECK(up->cols() == 2);
  CHECK(up->data.size() == 2 * 2 * 32);  // Two panels of 16 rows, two halves a row.
  CHECK(up->offset % 64 == 0);
  CHECK(file->verify_checksums().ok());
  // The order of use: norm, q, up.
  CHECK(file->find("norm")->offset < file->find("attn.q")->offset);
  CHECK(file->find("attn.q")->offset < up->offset);
}

TEST_CASE("the writer states the total before it writes, and writes the same bytes each time") {
  const TempDir dir;
  auto writer = QuernWriter::create(dir.file("a.quern"), "{}");
  REQUIRE(writer.ok());
  const std::array<std::uint64_t, 3> dims{2, 17, 40};
  REQUIRE(writer->declare_tensor("experts", Encoding::kQ4_0, Layout::kPanel16, dims).ok());
  const std::uint64_t total = writer->total_bytes();
  REQUIRE(writer->begin().ok());
  const std::string data(static_cast<std::size_t>(writer->wanted_bytes()), 'x');
  for (const char& c : data) REQUIRE(writer->write(as_bytes({&c, 1})).ok());
  CHECK_FALSE(std::filesystem::exists(dir.file("a.quern")));
  // Sealed, it can be opened and examined before late sections follow.
  REQUIRE(writer->seal().ok());
  CHECK(QuernFile::open(writer->temporary_path()).ok());
  REQUIRE(writer->seal().ok());
  CHECK(writer->total_bytes() == total);
  const auto hash = writer->finish();
  REQUIRE(hash.ok());
  CHECK(std::filesystem::file_size(dir.file("a.quern")) == total);
  CHECK(dir.entries() == 1);
  const auto file = QuernFile::open(dir.file("a.quern"));
  REQUIRE(file.ok());
  CHECK(file->weights_hash() == *hash);
  CHECK(file->verify_checksums().ok());
  CHECK(small_quern() == small_quern());
}

TEST_CASE("sections sealed in after the data cover the earlier tail") {
  MemorySink sink;
  auto writer = QuernWriter::to_sink(sink, "{}");
  REQUIRE(writer.ok());
  REQUIRE(writer->begin().ok());
  REQUIRE(writer->seal().ok());
  for (const Section kind : {Section::kReport, Section::kSelfTest}) {
    REQUIRE(writer->set_section(kind, "").ok());
    REQUIRE(writer->seal().ok());
    CHECK(QuernFile::from_bytes(sink.bytes(), "x").ok());
  }
  CHECK_FALSE(writer->set_section(Section::kReport, "late").ok());
  REQUIRE(writer->set_section(Section::kTokenizer, "x").ok());
  REQUIRE(writer->finish().ok());
  const auto file = QuernFile::from_bytes(sink.bytes(), "x");
  REQUIRE(file.ok());
  CHECK(file->verify_checksums().ok());
  CHECK(as_text(file->tokenizer()) == "x");
}

TEST_CASE("the writer refuses wrong use") {
  MemorySink sink;
  auto writer = QuernWriter::to_sink(sink, "{}");
  REQUIRE(writer.ok());
  const std::array<std::uint64_t, 2> dims{2, 3};
  const std::array<std::uint64_t, 2> none{2, 0};
  const std::array<std::uint64_t, 2> huge{std::uint64_t{1} << 40, std::uint64_t{1} << 40};
  CHECK_FALSE(writer->declare_tensor("", Encoding::kF32, Layout::kPlain, dims).ok());
  CHECK_FALSE(writer->declare_tensor("a b", Encoding::kF32, Layout::kPlain, dims).ok());
  CHECK_FALSE(writer->declare_tensor("a", Encoding::kQ4_0, Layout::kPlain, dims).ok());
  CHECK_FALSE(writer->declare_tensor("a", Encoding::kI64, Layout::kPanel16, dims).ok());
  CHECK_FALSE(writer->declare_tensor("a", Encoding::kF32, Layout::kPlain, none).ok());
  CHECK_FALSE(writer->declare_tensor("a", Encoding::kF32, Layout::kPlain, huge).ok());
  REQUIRE(writer->declare_tensor("a", Encoding::kF32, Layout::kPlain, dims).ok());
  CHECK_FALSE(writer->declare_tensor("a", Encoding::kF32, Layout::kPlain, dims).ok());
  CHECK_FALSE(writer->set_section(Section::kIndex, "x").ok());
  CHECK_FALSE(writer->write(as_bytes("x")).ok());
  REQUIRE(writer->begin().ok());
  CHECK_FALSE(writer->begin().ok());
  CHECK_FALSE(writer->declare_tensor("b", Encoding::kF32, Layout::kPlain, dims).ok());
  CHECK_FALSE(writer->write(as_bytes(std::string(25, 'x'))).ok());
  REQUIRE(writer->write(as_bytes(std::string(23, 'x'))).ok());
  CHECK_FALSE(writer->finish().ok());
  REQUIRE(writer->write(as_bytes("x")).ok());
  CHECK_FALSE(writer->write(as_bytes("x")).ok());
  CHECK(writer->finish().ok());
}

TEST_CASE("verify tells its progress and can be stopped") {
  const std::string bytes = small_quern();
  const ExactBytes exact(bytes);
  const auto file = QuernFile::from_bytes(exact.span(), "x");
  REQUIRE(file.ok());
  std::uint64_t last = 0;
  REQUIRE(file->verify_checksums([&](std::uint64_t done, std::uint64_t total) {
                CHECK(done >= last);
                CHECK(done <= total);
                last = done;
                return true;
              })
              .ok());
  CHECK(last > 0);
  const Status stopped = file->verify_checksums([](auto, auto) { return false; });
  REQUIRE_FALSE(stopped.ok());
  CHECK(stopped.error().code == ErrorCode::kCancelled);
}

TEST_CASE("the metadata tail is replaced in place and leaves the hash of the weights alone") {
  const TempDir dir;
  const std::string path = dir.write("m.quern", small_quern());
  const std::uint64_t hash = QuernFile::open(path)->weights_hash();
  const std::string body = dir.read("m.quern").substr(0, QuernFile::open(path)->body_bytes());
  for (int round = 0; round < 5; ++round) {
    QuernTail tail;
    tail.chat_template = "template " + std::to_string(round);
    if (round % 2 == 1) tail.metadata_json = R"({"name":"x"})";
    REQUIRE(rewrite_metadata_tail(path, tail).ok());
    const auto file = QuernFile::open(path);
    REQUIRE(file.ok());
    CHECK(file->chat_template() == *tail.chat_template);
    CHECK(file->generation_json() == R"({"temperature":0.5})");
    CHECK(file->metadata_json() == (round % 2 == 1 ? R"({"name":"x"})" : ""));
    CHECK(file->weights_hash() == hash);
    CHECK(file->verify_checksums().ok());
    CHECK(dir.read("m.quern").substr(0, body.size()) == body);
  }
  REQUIRE(rewrite_metadata_tail(path, {}).ok());
  CHECK(QuernFile::open(path)->chat_template() == "{{ messages[0].content }}");
  QuernTail wrong;
  wrong.generation_json = "[1]";
  CHECK_FALSE(rewrite_metadata_tail(path, wrong).ok());
  const std::string bytes = dir.read("m.quern");
  for (std::size_t n = body.size(); n < bytes.size(); ++n) {
    CHECK_FALSE(judge<QuernFile>(std::string_view(bytes).substr(0, n)).accepted);
  }
}

TEST_CASE("a rewrite of the tail that stops at any write leaves the old tail or the new one") {
  const TempDir dir;
  const std::string path = dir.write("m.quern", small_quern());
  QuernTail tail;
  tail.chat_template = "old";
  REQUIRE(rewrite_metadata_tail(path, tail).ok());
  const std::string before = dir.read("m.quern");
  tail.chat_template = "new and longer than the old one";
  REQUIRE(rewrite_metadata_tail(path, tail).ok());
  const std::string after = dir.read("m.quern");
  const std::size_t body = QuernFile::open(path)->body_bytes();
  // The slot that changed, first announced, then committed; the payload in every partial length.
  std::size_t slot = body;
  while (before.substr(slot, 64) == after.substr(slot, 64)) slot += 64;
  REQUIRE(slot < body + 128);
  const std::string payload = after.substr(before.size());
  const TailSlot next{TailState::kPending, 3, before.size(), payload.size(),
                      xxh64(as_bytes(payload))};
  std::string announced = before;
  announced.replace(slot, 64, encode_slot(next));
  const auto template_of = [&](const std::string& bytes) {
    const ExactBytes exact(bytes);
    auto file = QuernFile::from_bytes(exact.span(), "x");
    return file.ok() ? std::string(file->chat_template()) : file.error().describe();
  };
  for (std::size_t n = 0; n <= payload.size(); ++n) {
    const std::string torn = announced + payload.substr(0, n);
    CHECK(template_of(torn) == "old");
    // Unsynced bytes of the payload may also be anything.
    CHECK(template_of(announced + std::string(n, '\xff')) == "old");
    // The next rewrite mends the rest.
    dir.write("t.quern", torn);
    REQUIRE(rewrite_metadata_tail(dir.file("t.quern"), tail).ok());
    CHECK(dir.read("t.quern") == after);
  }
  CHECK(template_of(after) == *tail.chat_template);
}

TEST_CASE("opening allocates in proportion to the number of tensors, not to their size") {
  MemorySink sink;
  auto writer = QuernWriter::to_sink(sink, "{}");
  REQUIRE(writer.ok());
  const std::array<std::uint64_t, 2> dims{1024, 4096};
  REQUIRE(writer->declare_tensor("big", Encoding::kF32, Layout::kPlain, dims).ok());
  REQUIRE(writer->begin().ok());
  const std::string data(1u << 20, 'x');
  while (writer->wanted_bytes() != 0) REQUIRE(writer->write(as_bytes(data)).ok());
  REQUIRE(writer->finish().ok());
  const AllocationProbe probe;
  const auto file = QuernFile::from_image(std::move(sink).take(), "memory");
  REQUIRE(file.ok());
  CHECK(probe.peak() < 16384);
}

TEST_CASE("unknown optional sections are skipped, unknown required ones refused") {
  // The tokenizer's entry gets another kind; the checksum is mended.
  std::string bytes = small_quern();
  const std::size_t at = bytes.find("TOKN");
  REQUIRE(at < kQuernFrontBytes);
  bytes.replace(at, 4, "XTRA");
  CHECK(judge<QuernFile>(reseal_quern(bytes)).accepted);
  bytes[at + 4] = '\1';
  const Verdict verdict = judge<QuernFile>(reseal_quern(bytes));
  CHECK(verdict.error.code == ErrorCode::kUnsupported);
  CHECK(verdict.error.found == "\"XTRA\"");
}
