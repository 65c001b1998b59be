// The section that `verify` replays, and models opened without a file of their own.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "convert/self_test_maker.h"
#include "fixtures.h"
#include "formats/byte_reader.h"
#include "formats/quern_file.h"
#include "formats/quern_writer.h"
#include "formats/self_test.h"
#include "kernels/kernel_table.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

using formats::SelfTest;

ModelOptions one_thread() {
  ModelOptions options;
  options.threads = 1;
  return options;
}

ModelOptions vocabulary_only() {
  ModelOptions options;
  options.vocabulary_only = true;
  return options;
}

SelfTest sample() {
  SelfTest test;
  test.texts.push_back({"häl\"lo\n", true, false, {1, 2, 3}, "häl\"lo\n"});
  test.texts.push_back({"", false, true, {}, ""});
  test.renderings.push_back({"{\"messages\":[]}", "2026-01-02T03:04:05", "<s>text"});
  test.logits.push_back({{5, 6}, KvType::kF32, 0x0123456789abcdefu, {{7, 0x3f800000u}, {1, 0}}});
  return test;
}

TEST_CASE("a self-test is read as it was written") {
  const std::string bytes = formats::write_self_test(sample());
  const auto back = formats::read_self_test(formats::as_bytes(bytes), "a file");
  REQUIRE(back.ok());
  CHECK(*back == sample());
  CHECK(formats::write_self_test(*back) == bytes);
  CHECK(formats::read_self_test({}, "a file")->empty());
}

TEST_CASE("a self-test that names no revision of the arithmetic is of the first") {
  SelfTest test;
  test.numerics = 7;
  std::string bytes = formats::write_self_test(test);
  CHECK(formats::read_self_test(formats::as_bytes(bytes), "a file")->numerics == 7);
  const std::string key = "\"numerics\":7,";
  REQUIRE(bytes.find(key) != std::string::npos);
  bytes.erase(bytes.find(key), key.size());
  CHECK(formats::read_self_test(formats::as_bytes(bytes), "a file")->numerics == 1);
}

TEST_CASE("a damaged self-test is a typed error") {
  const std::string bytes = formats::write_self_test(sample());
  for (std::size_t n = 1; n < bytes.size(); ++n) {
    CHECK_FALSE(formats::read_self_test(formats::as_bytes(bytes.substr(0, n)), "f").ok());
  }
  const std::pair<std::string, std::string> edits[] = {
      {"\"version\":1", "\"version\":2"},
      {"\"numerics\":1", "\"numerics\":0"},
      {"\"kv\":1", "\"kv\":0"},
      {"\"kv\":1", "\"kv\":99"},
      {"0123456789abcdef", "0123456789abcdeg"},
      {"0123456789abcdef", "123"},
      {"\"ids\":[1,2,3]", "\"ids\":[-1]"},
      {"\"ids\":[1,2,3]", "\"ids\":7"},
      {"\"ids\":[1,2,3]", "\"ids\":[4294967296]"},
      {"\"bits\":0", "\"bits\":1e3"},
      {"\"texts\":[", "\"texts\":{}, \"x\":["},
      {"\"add_special\":true", "\"add_special\":1"}};
  for (const auto& [from, to] : edits) {
    const std::string shown = to;
    CAPTURE(shown);
    std::string damaged = bytes;
    REQUIRE(damaged.find(from) != std::string::npos);
    damaged.replace(damaged.find(from), from.size(), to);
    CHECK_FALSE(formats::read_self_test(formats::as_bytes(damaged), "f").ok());
  }
}

TEST_CASE("the largest logits come first, the lower id on a tie, NaN last") {
  const std::vector<float> row{1, 5, std::numeric_limits<float>::quiet_NaN(), 5, -2};
  const auto top = formats::top_logits(row);
  REQUIRE(top.size() == 5);
  CHECK(top[0].id == 1);
  CHECK(top[1].id == 3);
  CHECK(top[2].id == 0);
  CHECK(top[3].id == 4);
  CHECK(top[4].id == 2);
}

TEST_CASE("a converted model passes its own self-test, and a changed one does not") {
  for (const std::string& name : golden_names()) {
    const auto path = golden(name);
    if (!path) return;
    for (const char* encoding : {"keep", "q8", "q4_0"}) {
      CAPTURE(name);
      CAPTURE(encoding);
      const TempFolder folder;
      const std::string output = folder.file("a.quern");
      ConvertOptions options = plain_options(encoding, 2);
      options.self_test = true;
      const auto report = convert(*path, output, options);
      REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().describe()));
      CHECK(folder.names() == std::vector<std::string>{"a.quern"});
      const auto model = Model::open(output, one_thread());
      REQUIRE(model.ok());
      const auto verified = model->verify();
      REQUIRE(verified.ok());
      CHECK(verified->problems.empty());
      CHECK(verified->logits_checked == 1);

      const auto made = formats::QuernFile::open(output);
      REQUIRE(made.ok());
      const auto test = formats::read_self_test(made->self_test(), output);
      REQUIRE(test.ok());
      REQUIRE(test->logits.size() == 1);
      CHECK(test->logits[0].prompt.size() == 16);
      CHECK(test->logits[0].top.size() == formats::kSelfTestTop);
    }
  }
}

TEST_CASE("weights that differ from those of the self-test are found out") {
  const auto path = golden("llama2");
  if (!path) return;
  const TempFolder folder;
  ConvertOptions options = plain_options("q8", 1);
  options.self_test = true;
  REQUIRE(convert(*path, folder.file("a.quern"), options).ok());
  const auto a = formats::QuernFile::open(folder.file("a.quern"));
  REQUIRE(a.ok());
  auto test = formats::read_self_test(a->self_test(), "a file");
  REQUIRE(test.ok());
  REQUIRE(test->numerics == kernels::kNumericsRevision);
  // The same file with one tensor zeroed and everything else, checksums included, in order.
  const auto verify_changed = [&](const std::string& name) -> VerifyReport {
    const std::string path_of_copy = folder.file(name);
    auto writer = formats::QuernWriter::create(path_of_copy, std::string(a->config_json()));
    REQUIRE(writer.ok());
    const std::string section = formats::write_self_test(*test);
    REQUIRE(writer->set_section(formats::Section::kSelfTest, formats::as_bytes(section)).ok());
    write_tensors_of(*a, *writer, "layers.0.wo");
    const auto changed = Model::open(path_of_copy, one_thread());
    REQUIRE(changed.ok());
    auto verified = changed->verify();
    REQUIRE(verified.ok());
    return *std::move(verified);
  };
  const VerifyReport report = verify_changed("b.quern");
  CHECK(report.problems.size() == 1);
  CHECK(report.logits_skipped.empty());

  // Logits of another arithmetic prove nothing.
  test->numerics = kernels::kNumericsRevision - 1;
  const VerifyReport older = verify_changed("c.quern");
  CHECK(older.problems.empty());
  CHECK(older.logits_checked == 0);
  CHECK(older.logits_skipped.find("revision " + std::to_string(test->numerics)) !=
        std::string::npos);
}

TEST_CASE("the same source gives the same file, self-test included, for any number of threads") {
  const auto path = golden("smollm2");
  if (!path) return;
  const TempFolder folder;
  std::vector<std::string> bytes;
  for (const int threads : {1, 2}) {
    ConvertOptions options = plain_options("q4", threads);
    options.self_test = true;
    REQUIRE(convert(*path, folder.file("a.quern"), options).ok());
    bytes.push_back(read_bytes(folder.file("a.quern")));
  }
  CHECK(bytes[0] == bytes[1]);
}

TEST_CASE("the prompt of a self-test lies within the vocabulary") {
  for (const std::int64_t vocab : {1, 2, 320, 262'144}) {
    for (const auto id : self_test_prompt(vocab)) {
      CHECK(id >= 0);
      CHECK(id < vocab);
    }
  }
}

std::vector<float> last_logits(const Model& model) {
  auto session = Session::create(model, {.context = 64});
  REQUIRE(session.ok());
  // Long enough that windows and scaled positions matter.
  std::vector<TokenId> ids;
  for (TokenId i = 0; i < 60; ++i) ids.push_back((7 * i * i + 3) % 256);
  const auto logits = session->step(ids);
  REQUIRE(logits.ok());
  return {logits->begin(), logits->end()};
}

TEST_CASE("a checkpoint answers through GGUF as it does directly") {
  for (const std::string& name : golden_names()) {
    const auto path = golden(name);
    if (!path) return;
    CAPTURE(name);
    const TempFolder folder;
    REQUIRE(convert(*path, folder.file("a.gguf"), plain_options("f32")).ok());
    REQUIRE(convert(*path, folder.file("a.quern"), plain_options("f32")).ok());
    const auto direct = open_any(folder.file("a.quern"), one_thread());
    const auto by = open_any(folder.file("a.gguf"), one_thread());
    REQUIRE(direct.ok());
    REQUIRE_MESSAGE(by.ok(), (by.ok() ? "" : by.error().describe()));
    const auto want = last_logits(*direct), have = last_logits(*by);
    REQUIRE(want.size() == have.size());
    // GGUF keeps configuration numbers as float32.
    for (std::size_t i = 0; i < want.size(); ++i) CHECK(std::abs(want[i] - have[i]) < 1e-3F);
  }
}

TEST_CASE("a model opened from its source answers as the converted one does") {
  const auto path = golden("llama2");
  if (!path) return;
  const TempFolder folder;
  REQUIRE(convert(*path, folder.file("a.quern"), plain_options()).ok());
  REQUIRE(convert(*path, folder.file("a.gguf"), plain_options()).ok());
  const auto converted = open_any(folder.file("a.quern"));
  REQUIRE(converted.ok());
  for (const std::string& source : {*path, *path + "/model.safetensors", folder.file("a.gguf")}) {
    CAPTURE(source);
    const auto model = open_any(source);
    REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().describe()));
    CHECK(model->path() == source);
    CHECK(model->can_run());
    CHECK(model->weights_hash() == converted->weights_hash());
    CHECK(last_logits(*model) == last_logits(*converted));
  }
  const auto vocabulary = open_any(*path, vocabulary_only());
  REQUIRE(vocabulary.ok());
  CHECK_FALSE(vocabulary->can_run());
}

}  // namespace
}  // namespace quern::convert::test
