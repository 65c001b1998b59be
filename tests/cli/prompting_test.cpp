// Prompts beyond -p: files of examples, and fill-in-the-middle.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "process.h"

using namespace quern::test;
using Json = nlohmann::json;

namespace {

Json json_of(const std::vector<std::string>& words, std::string_view input = {}) {
  const Outcome outcome = quern::test::quern(words, input);
  CAPTURE(outcome.err);
  REQUIRE(outcome.status == 0);
  return Json::parse(outcome.out);
}

/// The trained decoder with ids for fill-in-the-middle among its generation defaults.
std::string handbook_with_ids(const quern::testing::TempDir& folder, const std::string& model,
                              int middle) {
  for (const auto& entry : std::filesystem::directory_iterator(model))
    std::filesystem::create_symlink(entry.path(), folder.file(entry.path().filename().string()));
  std::filesystem::remove(folder.file("generation_config.json"));
  const Json settings{{"eos_token_id", 1},
                      {"fim_prefix_token_id", 2},
                      {"fim_suffix_token_id", 3},
                      {"fim_middle_token_id", middle}};
  folder.write("generation_config.json", settings.dump());
  return folder.path();
}

}  // namespace

TEST_CASE("a prompt file is the prompt, or what stands before it") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string whole = folder.write("whole.txt", "The package manager\n");
  const std::string head = folder.write("head.txt", "The package ");
  const auto ids = [&](std::vector<std::string> words, std::string_view input = {}) {
    words.insert(words.begin(), {"run", *model});
    words.insert(words.end(), {"--raw", "--greedy", "-n", "8", "--json"});
    const Json json = json_of(words, input);
    return std::pair(json["prompt_tokens"], json["ids"]);
  };
  const auto expected = ids({"-p", "The package manager"});
  CHECK(ids({"-f", whole}) == expected);
  CHECK(ids({"-f", head, "-p", "manager"}) == expected);
  CHECK(ids({"--file", "-"}, "The package manager\n") == expected);
  CHECK(ids({"-f", head, "-p", "-"}, "manager") == expected);
  const Outcome missing = quern::test::quern({"run", *model, "-f", folder.file("none")});
  CHECK(missing.status == 1);
  CHECK(missing.err.find("none") != std::string::npos);
}

TEST_CASE("run fills in what stands between --prefix and --suffix") {
  const auto model = handbook();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string filler = handbook_with_ids(folder, *model, 4);
  const Json json = json_of({"run", filler, "--prefix", "The package", "--suffix", "-f files", "-n",
                             "8", "--greedy", "--json"});
  const auto parts =
      json_of({"run", filler, "--prefix", "", "--suffix", "", "-n", "1", "--greedy", "--json"});
  CHECK(json["prompt_tokens"].get<int>() > parts["prompt_tokens"].get<int>());
  CHECK(parts["prompt_tokens"].get<int>() >= 3);
  CHECK(json["ids"].size() <= 8);
  // The ids go through a container and a GGUF file.
  const std::string container = folder.file("a.quern"), gguf = folder.file("a.gguf"),
                    again = folder.file("b.quern");
  for (const auto& [from, to] : {std::pair(filler, container), {container, gguf}, {gguf, again}})
    REQUIRE(quern::test::quern({"convert", from, "-o", to}).status == 0);
  for (const std::string& path : {container, again})
    CHECK(json_of({"run", path, "--prefix", "The package", "--suffix", "-f files", "-n", "8",
                   "--greedy", "--json"})["ids"] == json["ids"]);

  const Outcome refused = quern::test::quern({"run", *model, "--prefix", "a", "--suffix", "b"});
  CHECK(refused.status == 1);
  CHECK(refused.err.find("fill-in-the-middle") != std::string::npos);
  const quern::testing::TempDir other;
  const Outcome outside =
      quern::test::quern({"run", handbook_with_ids(other, *model, 1 << 20), "--prefix", "a"});
  CHECK(outside.status == 1);
  CHECK(outside.err.find("no token") != std::string::npos);
}

TEST_CASE("eval choice takes the likelier continuation and counts the right ones") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string lines = folder.write(
      "questions.jsonl",
      "{\"context\": \"The package\", \"choices\": [\" manager\", \" zqxj wvk\"], \"answer\": "
      "0}\n\n"
      "{\"question\": \"The package\", \"choices\": [\" zqxj wvk\", \" manager\"], \"answer\": 0}\n"
      "{\"question\": \"The\", \"choices\": [\" package\", \" kwqz\"]}\n");
  const Json json = json_of({"eval", "choice", *model, "--jsonl", lines, "--json"});
  CHECK(json["questions"] == 3);
  CHECK(json["answered"] == 2);
  for (const char* by : {"sum", "byte", "token"}) CHECK(json["accuracy"][by] == 0.5);
  CHECK(json["results"][0]["choice"] == 0);
  CHECK(json["results"][1]["choice"] == 1);
  CHECK(json["results"][2]["choice"] == 0);
  CHECK_FALSE(json["results"][2].contains("answer"));
  // Order and company change no bit; neither does where the text stands.
  const Json& a = json["results"][0]["choices"];
  const Json& b = json["results"][1]["choices"];
  CHECK(a[0] == b[1]);
  CHECK(a[1] == b[0]);
  const std::string examples = folder.write("examples.txt", "The ");
  const std::string rest = folder.write(
      "rest.jsonl", R"({"context": "package", "continuations": [" manager", " zqxj wvk"]})");
  const Json split =
      json_of({"eval", "likelihood", *model, "--jsonl", rest, "-f", examples, "--json"});
  CHECK(split["results"][0]["continuations"] == a);
  const Json given = json_of({"eval", "likelihood", *model, "--context", "The package", " manager",
                              " zqxj wvk", "--json"});
  CHECK(given["results"] == split["results"]);
  const Outcome shown = quern::test::quern({"eval", "choice", *model, "--jsonl", lines});
  CHECK(shown.status == 0);
  CHECK(shown.out.find("2: 1 \" manager\" (wrong: 0)") != std::string::npos);
  CHECK(shown.out.find("50.00 % by sum") != std::string::npos);
}

TEST_CASE("a line that is no question is refused with its number") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  for (const auto& row : std::vector<std::pair<std::string, std::string>>{
           {"no json", "line 2"},
           {"[1]", "line 2"},
           {R"({"context": "a"})", "choices"},
           {R"({"context": 1, "choices": ["a"]})", "context"},
           {R"({"context": "a", "choices": ["a", 2]})", "choices"},
           {R"({"context": "a", "choices": []})", "choices"},
           {R"({"context": "a", "choices": ["a", "b"], "answer": 2})", "answer"},
           {R"({"context": "a", "choices": ["a", "b"], "answer": "b"})", "answer"},
           {R"({"context": "a", "choices": ["a", ""]})", "question 2"}}) {
    const std::string &line = row.first, &word = row.second;
    CAPTURE(line);
    const std::string good = R"({"context": "a", "choices": ["b", "c"]})";
    const Outcome outcome = quern::test::quern(
        {"eval", "choice", *model, "--jsonl", folder.write("q.jsonl", good + "\n" + line + "\n")});
    CAPTURE(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find(word) != std::string::npos);
  }
}
