// The commands of encoders: logits, embed, rerank.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "formats/safetensors_reader.h"
#include "process.h"
#include "support/temp_dir.h"

using namespace quern::test;
using Json = nlohmann::json;

namespace {

const std::string kModels = std::string(QUERN_GOLDENS_DIR) + "/models/";

bool have_goldens() {
  if (std::filesystem::exists(kModels + "bert")) return true;
  if (std::getenv("CI") != nullptr) FAIL("no goldens in " << kModels);
  return false;
}

}  // namespace

TEST_CASE("logits writes an encoder's states, embedding and head") {
  if (!have_goldens()) return;
  const quern::testing::TempDir folder;
  const std::string out = folder.path() + "/out.safetensors";
  struct Case {
    const char* model;
    std::vector<std::uint64_t> logits;
  };
  for (const Case& one :
       {Case{"bert", {}}, Case{"bert_mlm", {3, 259}}, Case{"bert_reranker", {1}}}) {
    CAPTURE(one.model);
    const Outcome outcome = quern::test::quern({"logits", kModels + one.model, "--ids", "5,6,7",
                                                "--type-ids", "0,1,1", "-o", out, "--json"});
    CAPTURE(outcome.err);
    REQUIRE(outcome.status == 0);
    CHECK(Json::parse(outcome.out)["tensors"]["embedding"] == Json{96});
    auto file = quern::formats::SafetensorsFile::open(out);
    REQUIRE(file.ok());
    REQUIRE(file->find("last_hidden_state") != nullptr);
    CHECK(file->find("last_hidden_state")->shape == std::vector<std::uint64_t>{3, 96});
    CHECK(file->find("embedding")->shape == std::vector<std::uint64_t>{96});
    CHECK((file->find("logits") != nullptr) == !one.logits.empty());
    if (file->find("logits") != nullptr) CHECK(file->find("logits")->shape == one.logits);
  }
}

TEST_CASE("--trace of an encoder names its attention") {
  if (!have_goldens()) return;
  const quern::testing::TempDir folder;
  const std::string path = folder.file("trace.json");
  const Outcome outcome = quern::test::quern({"logits", kModels + "bert", "--ids", "5,6,7", "-o",
                                              folder.file("out.safetensors"), "--trace", path});
  REQUIRE(outcome.status == 0);
  std::set<std::string> kinds;
  const Json trace = Json::parse(std::ifstream(path), nullptr, false);
  REQUIRE(trace.contains("traceEvents"));
  for (const Json& event : trace["traceEvents"]) kinds.insert(event["cat"].get<std::string>());
  for (const char* kind : {"step", "linear", "encoder_attention"}) CHECK(kinds.count(kind) == 1);
}

TEST_CASE("bench of an encoder gives the rate of texts of so many tokens") {
  if (!have_goldens()) return;
  const Outcome outcome =
      quern::test::quern({"bench", kModels + "bert", "-p", "9", "-r", "2", "--json"});
  REQUIRE(outcome.status == 0);
  const Json bench = Json::parse(outcome.out);
  REQUIRE(bench["results"].size() == 1);
  const Json& result = bench["results"][0];
  CHECK(result["test"] == "encode");
  CHECK(result["tokens"] == 9);
  CHECK(result["depth"] == 0);
  CHECK(result["texts"] == 911);  // 8,192 tokens or a few more.
  REQUIRE(result["tokens_per_second"].size() == 2);
  for (const Json& rate : result["tokens_per_second"]) CHECK(rate.get<double>() > 0);
  CHECK(bench["kv"] == "f32");

  const Outcome longest =
      quern::test::quern({"bench", kModels + "bert", "-p", "100000", "-r", "1"});
  CHECK(longest.status == 0);  // No text is longer than the model takes.
  CHECK(longest.out.find("encode ") != std::string::npos);
}

TEST_CASE("encoders and decoders are told apart with one sentence and status 1") {
  if (!have_goldens()) return;
  const quern::testing::TempDir folder;
  const std::string out = folder.path() + "/out.safetensors";
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"run", kModels + "bert", "-p", "x", "--raw"},
           {"embed", kModels + "bert", "a text"},  // No tokenizer.
           {"rerank", kModels + "bert", "--query", "q", "d"},
           {"embed", kModels + "llama3", "a text"},
           {"logits", kModels + "bert", "--ids", "5,6", "--type-ids", "0,7", "-o", out},
           {"logits", kModels + "bert", "--ids", "5,6", "--type-ids", "0", "-o", out}}) {
    const Outcome outcome = quern::test::quern(words);
    CAPTURE(words[0]);
    CAPTURE(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find("quern: ") == 0);
  }
  CHECK_FALSE(std::filesystem::exists(out));
}
