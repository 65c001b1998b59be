// The measured choice of a key/value cache: its section, the measurement, what sessions make of it.
#include "formats/cache_choice.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "fixtures.h"
#include "formats/byte_reader.h"
#include "formats/quern_file.h"
#include "formats/quern_writer.h"
#include "quern/session.h"

namespace quern::convert::test {
namespace {

using formats::CacheChoice;

const CacheChoice kSample{KvType::kQ8, 256, 0.0035, 0.00475};

Result<CacheChoice> read_text(const std::string& text) {
  return formats::read_cache_choice(formats::as_bytes(text), "a file");
}

/// The section of a file; nullopt where it has none.
std::optional<CacheChoice> choice_in(const std::string& path) {
  const auto file = formats::QuernFile::open(path);
  REQUIRE(file.ok());
  const auto section = file->section(formats::Section::kCache);
  if (section.empty()) return std::nullopt;
  const auto choice = formats::read_cache_choice(section, path);
  REQUIRE(choice.ok());
  return *choice;
}

KvType default_kv(const std::string& path, SessionOptions options = {}) {
  const auto model = Model::open(path);
  REQUIRE(model.ok());
  const auto session = Session::create(*model, options);
  REQUIRE(session.ok());
  return session->kv();
}

TEST_CASE("a cache section is read as it was written") {
  const std::string bytes = formats::write_cache_choice(kSample);
  const auto back = read_text(bytes);
  REQUIRE(back.ok());
  CHECK(*back == kSample);
}

TEST_CASE("a damaged cache section is a typed error") {
  const std::string bytes = formats::write_cache_choice(kSample);
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(read_text(bytes.substr(0, n)).ok());
  const std::pair<std::string, std::string> edits[] = {
      {"\"version\":1", "\"version\":2"},
      {"\"kv\":4", "\"kv\":0"},
      {"\"kv\":4", "\"kv\":6"},
      {"\"kv\":4", "\"kv\":\"q8\""},
      {"\"tokens\":256", "\"tokens\":-1"},
      {"\"f16\":", "\"f16\":-"},
      {"\"q8\":", "\"q9\":"},
      {"\"kl_divergence\":{", "\"kl_divergence\":[],\"x\":{"}};
  for (const auto& [from, with] : edits) {
    const std::string to = with;
    CAPTURE(to);
    std::string damaged = bytes;
    REQUIRE(damaged.find(from) != std::string::npos);
    damaged.replace(damaged.find(from), from.size(), to);
    const auto back = read_text(damaged);
    REQUIRE_FALSE(back.ok());
    CHECK(back.error().file == "a file");
  }
}

TEST_CASE("a conversion measures the cache of quantized weights") {
  const std::string path = QUERN_GOLDENS_DIR "/../eval/models/handbook-12m";
  if (!golden("llama3")) return;
  const TempFolder folder;
  ConvertOptions options = plain_options("q8", 2);
  options.self_test = true;
  REQUIRE(convert(path, folder.file("a.quern"), options).ok());
  const auto choice = choice_in(folder.file("a.quern"));
  REQUIRE(choice);
  CHECK(choice->tokens > 0);
  CHECK(choice->f16 > 0);
  CHECK(choice->q8 > 0);
  const KvType wanted = choice->q8 <= 2 * choice->f16 ? KvType::kQ8 : KvType::kF16;
  CHECK(choice->kv == wanted);
  CHECK(default_kv(folder.file("a.quern")) == choice->kv);

  // The same file whatever the number of threads.
  options.threads = 1;
  REQUIRE(convert(path, folder.file("b.quern"), options).ok());
  CHECK(choice_in(folder.file("b.quern")) == choice);
}

TEST_CASE("a session takes the cache that its file names, unless it names one itself") {
  const auto path = golden("llama3");
  if (!path) return;
  const TempFolder folder;
  REQUIRE(convert(*path, folder.file("a.quern"), plain_options("q8", 1)).ok());
  const auto a = formats::QuernFile::open(folder.file("a.quern"));
  REQUIRE(a.ok());
  auto writer = formats::QuernWriter::create(folder.file("b.quern"), std::string(a->config_json()));
  REQUIRE(writer.ok());
  const std::string section = formats::write_cache_choice(kSample);
  REQUIRE(writer->set_section(formats::Section::kCache, std::string_view(section)).ok());
  write_tensors_of(*a, *writer);
  CHECK(default_kv(folder.file("a.quern")) == KvType::kF16);
  CHECK(default_kv(folder.file("b.quern")) == KvType::kQ8);
  SessionOptions named;
  named.kv = KvType::kF32;
  CHECK(default_kv(folder.file("b.quern"), named) == KvType::kF32);
}

TEST_CASE("where there is no choice, nothing is measured") {
  // Float weights, no cache, no cache, a context too short for one to matter.
  const std::pair<const char*, const char*> cases[] = {
      {"mpt", "keep"}, {"mamba", "q8"}, {"bert", "q8"}, {"llama3", "q8"}};
  for (const auto& [model, encoding] : cases) {
    const std::string name = model;
    const auto path = golden(name);
    if (!path) return;
    CAPTURE(name);
    const TempFolder folder;
    ConvertOptions options = plain_options(encoding, 1);
    options.self_test = true;
    REQUIRE(convert(*path, folder.file("a.quern"), options).ok());
    CHECK_FALSE(choice_in(folder.file("a.quern")));
  }
}

}  // namespace
}  // namespace quern::convert::test
