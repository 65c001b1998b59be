// The commands of encoders: logits, embed, rerank.
#include <doctest/doctest.h>

#include <algorithm>
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

/// Words, and the template of one text and of two, as a tokenizer.json.
constexpr const char* kWords = R"({"version": "1.0", "added_tokens": [
  {"id": 1, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false,
   "normalized": false, "special": true},
  {"id": 2, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
   "normalized": false, "special": true},
  {"id": 3, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
   "normalized": false, "special": true}],
  "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A",
      "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A",
      "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B",
      "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
    "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
      "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
  "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1,
    "[CLS]": 2, "[SEP]": 3, "what": 4, "turns": 5, "the": 6, "mill": 7, "moon": 8, "?": 9,
    ".": 10}}})";

/// A golden encoder with those words.
std::string with_words(const quern::testing::TempDir& folder, const std::string& golden) {
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(kModels + golden + "/" + file, folder.file(file));
  folder.write("tokenizer.json", kWords);
  return folder.path();
}

}  // namespace

TEST_CASE("rerank puts the best document first, one line each or as JSON") {
  if (!have_goldens()) return;
  const quern::testing::TempDir folder;
  const std::string model = with_words(folder, "bert_reranker");
  const std::string lines =
      folder.write("docs.jsonl", "\"the mill\\nturns\"\n{\"text\":\"moon\"}\n");
  const std::vector<std::string> words{"rerank",         model,     "--query", "what turns ?",
                                       "the moon turns", "--jsonl", lines};
  const Outcome text = quern::test::quern(words);
  REQUIRE(text.status == 0);
  CHECK(std::count(text.out.begin(), text.out.end(), '\n') == 3);
  CHECK(text.out.find("\t1\tthe mill\\nturns\n") != std::string::npos);
  auto as_json = words;
  as_json.emplace_back("--json");
  const Json json = Json::parse(quern::test::quern(as_json).out);
  REQUIRE(json["results"].size() == 3);
  std::set<int> indices;
  for (std::size_t i = 0; i < 3; ++i) {
    const Json& result = json["results"][i];
    indices.insert(result["index"].get<int>());
    CHECK(result["score"] == result["logits"].back());
    if (i > 0) CHECK(result["score"] <= json["results"][i - 1]["score"]);
  }
  CHECK(indices == std::set<int>{0, 1, 2});
}

TEST_CASE("embed writes one line a text, in their order, from words and from lines") {
  if (!have_goldens()) return;
  const quern::testing::TempDir folder;
  const std::string model = with_words(folder, "bert");
  const Outcome json =
      quern::test::quern({"embed", model, "the mill", "--jsonl", "-", "--json"}, "\"turns .\"\n");
  REQUIRE(json.status == 0);
  const std::size_t end = json.out.find('\n');
  const Json first = Json::parse(json.out.substr(0, end)),
             second = Json::parse(json.out.substr(end));
  CHECK(first["tokens"] == 4);
  CHECK(second["index"] == 1);
  CHECK(first["embedding"].size() == second["embedding"].size());
  double square = 0;
  for (const Json& x : first["embedding"]) square += x.get<double>() * x.get<double>();
  CHECK(square == doctest::Approx(1.0));
  const Outcome alone = quern::test::quern({"embed", model, "the mill", "--json"});
  CHECK(alone.out == json.out.substr(0, end + 1));  // Whatever stands beside it.
}

TEST_CASE("run reads a source of any length that the model takes, and times a search") {
  if (!have_goldens()) return;
  const quern::testing::TempDir folder;
  const std::string model = with_words(folder, "t5");
  std::string source;
  for (int i = 0; i < 8200; ++i) source += "mill ";  // More than a session's default.
  const Outcome greedy = quern::test::quern({"run", model, "-p", "-", "-n", "2", "--json"}, source);
  CAPTURE(greedy.err);
  REQUIRE(greedy.status == 0);
  CHECK(Json::parse(greedy.out)["source_tokens"] == 8202);
  const Outcome beams =
      quern::test::quern({"run", model, "-p", "mill", "-n", "4", "--beams", "3", "--json"});
  REQUIRE(beams.status == 0);
  const Json searched = Json::parse(beams.out);
  CHECK(searched["generated_tokens"] == searched["ids"].size());
  CHECK(searched["decode_ms"].get<double>() > 0);
}

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
