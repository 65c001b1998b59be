// Prompting on models of several families, by texts alone: fill-in-the-middle under each family's
// names, few-shot files and likelihoods against transformers' (prompting/make.py made them).
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "process.h"

using namespace quern::test;
using Json = nlohmann::json;

namespace {

constexpr const char* kTokenizer = QUERN_SOURCE_DIR "/tests/convert/rules/stops_259.json";
constexpr const char* kSums = QUERN_SOURCE_DIR "/tests/cli/prompting/sums.json";

Json json_of(const std::vector<std::string>& words) {
  const Outcome outcome = quern::test::quern(words);
  CAPTURE(outcome.err);
  REQUIRE(outcome.status == 0);
  return Json::parse(outcome.out);
}

Json read_json(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return Json::parse(in);
}

/// A golden with this tokenizer, in `folder`.
void add_model(const quern::testing::TempDir& folder, const std::string& golden,
               const Json& tokenizer) {
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors"}) {
    if (!std::filesystem::exists(folder.file(file)))
      std::filesystem::create_symlink(golden + "/" + file, folder.file(file));
  }
  folder.write("tokenizer.json", tokenizer.dump());
}

/// The tokenizer with further control tokens, behind its 259.
Json with_tokens(const std::vector<std::string>& names) {
  Json tokenizer = read_json(kTokenizer);
  tokenizer["pre_tokenizer"]["use_regex"] = true;  // GPT-2's, which GGUF knows.
  int id = 259;
  for (const std::string& name : names) {
    if (name.empty()) continue;
    tokenizer["added_tokens"].push_back({{"id", id++},
                                         {"content", name},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", false},
                                         {"normalized", false},
                                         {"special", true}});
  }
  return tokenizer;
}

struct Names {
  const char *prefix, *suffix, *middle;
  bool suffix_first;
};

}  // namespace

TEST_CASE("each family's names for a gap make its prompt, from a checkpoint and from GGUF") {
  const auto golden = reference("models/llama3");
  if (!golden) return;
  const std::string before = "def add(a, b):\n    ", behind = "\n    return total\n";
  int different = 0;  // Replies that another order would have changed.
  for (const Names& names : {Names{"<fim_prefix>", "<fim_suffix>", "<fim_middle>", false},
                             Names{"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", false},
                             Names{"<fim-prefix>", "<fim-suffix>", "<fim-middle>", false},
                             Names{"▁<PRE>", "▁<SUF>", "▁<MID>", false},
                             Names{"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", false},
                             Names{"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", false},
                             Names{">>PREFIX<<", ">>SUFFIX<<", ">>MIDDLE<<", false},
                             Names{"<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", true},
                             Names{"[PREFIX]", "[SUFFIX]", "", true}}) {
    CAPTURE(names.prefix);
    const quern::testing::TempDir folder;
    add_model(folder, *golden, with_tokens({names.prefix, names.suffix, names.middle}));
    const std::string first = names.prefix + before, second = names.suffix + behind;
    const std::string text =
        (names.suffix_first ? second + first : first + second) + std::string(names.middle);
    const std::vector<std::string> how{"-n", "6", "--greedy", "--ignore-eos", "--json"};
    const auto run = [&](std::vector<std::string> words, const std::string& model) {
      words.insert(words.begin(), {"run", model});
      words.insert(words.end(), how.begin(), how.end());
      const Json json = json_of(words);
      return std::pair(json["prompt_tokens"], json["ids"]);
    };
    const auto expected = run({"--raw", "-p", text}, folder.path());
    const std::vector<std::string> gap{"--prefix", before, "--suffix", behind};
    CHECK(run(gap, folder.path()) == expected);
    const std::string container = folder.file("a.quern"), gguf = folder.file("a.gguf");
    REQUIRE(quern::test::quern({"convert", folder.path(), "-o", container}).status == 0);
    REQUIRE(quern::test::quern({"convert", folder.path(), "-o", gguf}).status == 0);
    CHECK(run(gap, container) == expected);
    CHECK(run(gap, gguf) == expected);
    const std::string turned =
        (names.suffix_first ? first + second : second + first) + std::string(names.middle);
    different += run({"--raw", "-p", turned}, folder.path()).second != expected.second ? 1 : 0;
  }
  CHECK(different >= 6);
}

TEST_CASE("likelihoods and few-shot replies are transformers' in several families") {
  const Json all = read_json(kSums);
  const Json tokenizer = read_json(kTokenizer);
  const std::string examples = all["examples"];
  for (const Json& about : all["models"]) {
    const auto golden = reference("models/" + about["model"].get<std::string>());
    if (!golden) return;
    CAPTURE(*golden);
    const quern::testing::TempDir folder;
    add_model(folder, *golden, tokenizer);
    const std::string shots = folder.write("shots.txt", examples);
    std::string lines;
    for (const Json& question : about["questions"])
      lines +=
          Json{{"context", question["context"]}, {"choices", question["continuations"]}}.dump() +
          "\n";
    const Json found = json_of({"eval", "choice", folder.path(), "--jsonl",
                                folder.write("q.jsonl", lines), "-f", shots, "--json"});
    for (std::size_t i = 0; i < about["questions"].size(); ++i) {
      CAPTURE(i);
      const Json& question = about["questions"][i];
      const Json& choices = found["results"][i]["choices"];
      std::size_t best = 0;
      for (std::size_t j = 0; j < choices.size(); ++j) {
        const double sum = question["sums"][j];
        CHECK(choices[j]["log_likelihood"].get<double>() == doctest::Approx(sum).epsilon(2e-5));
        CHECK(choices[j]["tokens"] == question["tokens"][j]);
        if (sum > question["sums"][best].get<double>()) best = j;
      }
      CHECK(found["results"][i]["choice"] == best);
      const Json reply =
          json_of({"run", folder.path(), "--raw", "-f", shots, "-p", question["context"], "-n",
                   "12", "--greedy", "--beams", "1", "--ignore-eos", "--json"});
      CHECK(reply["ids"] == question["reply"]);
    }
  }
}
