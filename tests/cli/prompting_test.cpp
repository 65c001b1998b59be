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
