// Of every family: the same bits on every instruction set of the machine, with one thread or eight,
// in one chunk or many.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "process.h"

using namespace quern::test;
using Json = nlohmann::json;

namespace {

constexpr const char* kKinds[] = {"decoder", "encoder", "masked_lm", "seq_cls", "seq2seq"};
constexpr const char* kIsas[] = {"scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "neon"};
constexpr int kIds = 12;

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Family {
  std::string folder, kind;
};

std::vector<Family> every_family() {
  std::vector<Family> families;
  const auto models = reference("models");
  if (!models) return families;
  for (const auto& entry : std::filesystem::directory_iterator(*models)) {
    std::ifstream file(entry.path() / "golden.json");
    const Json about = Json::parse(file, nullptr, false);
    if (about.is_discarded()) continue;
    const std::string kind = about.value("kind", "");
    if (std::find(std::begin(kKinds), std::end(kKinds), kind) != std::end(kKinds))
      families.push_back({entry.path().string(), kind});
  }
  std::sort(families.begin(), families.end(),
            [](const Family& a, const Family& b) { return a.folder < b.folder; });
  return families;
}

std::string some_ids() {
  std::string ids;
  for (int i = 0; i < kIds; ++i) ids += (i > 0 ? "," : "") + std::to_string(3 + i * 7 % 40);
  return ids;
}

/// The bytes of the logits file, or of the message where it fails.
Outcome logits(const Family& family, const std::string& model, const std::string& output,
               const std::vector<std::string>& more, const std::string& isa) {
  std::vector<std::string> words = {"logits", model, "--ids", some_ids(), "-o", output};
  if (family.kind == "seq2seq") words.insert(words.end(), {"--decoder-ids", "0,5,9,11,6"});
  words.insert(words.end(), more.begin(), more.end());
  std::map<std::string, std::string> environment;
  if (!isa.empty()) environment["QUERN_ISA"] = isa;
  return quern::test::quern(words, {}, environment);
}

bool has_isa(const std::string& model, const char* isa) {
  return quern::test::quern({"plan", model}, {}, {{"QUERN_ISA", isa}}).status == 0;
}

}  // namespace

TEST_CASE("one instruction set or another, one thread or eight, one chunk or many: the same bits") {
  std::vector<std::string> isas;
  for (const Family& family : every_family()) {
    CAPTURE(family.folder);
    const quern::testing::TempDir temp;
    for (const char* encoding : {"keep", "qr4"}) {
      CAPTURE(encoding);
      const std::string model = temp.file(std::string(encoding) + ".quern");
      const Outcome made = quern::test::quern(
          {"convert", family.folder, "-o", model, "--encoding", encoding, "--no-self-test"});
      CAPTURE(made.err);
      REQUIRE(made.status == 0);
      if (isas.empty())
        std::copy_if(std::begin(kIsas), std::end(kIsas), std::back_inserter(isas),
                     [&](const char* isa) { return has_isa(model, isa); });
      REQUIRE(isas.size() > 1);
      const std::string first = temp.file("first"), other = temp.file("other");
      REQUIRE(logits(family, model, first, {"--threads", "1"}, "").status == 0);
      const std::string want = contents(first);
      for (const std::string& isa : isas) {
        CAPTURE(isa);
        REQUIRE(logits(family, model, other, {"--threads", "1"}, isa).status == 0);
        CHECK(contents(other) == want);
      }
      REQUIRE(logits(family, model, other, {"--threads", "8", "--batch", "5"}, "").status == 0);
      CHECK(contents(other) == want);
    }
  }
}
