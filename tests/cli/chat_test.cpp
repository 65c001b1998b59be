#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/quern_writer.h"
#include "process.h"

using namespace quern::test;
using Json = nlohmann::json;

namespace {

std::vector<std::string> chat(const std::string& model, std::vector<std::string> more = {}) {
  std::vector<std::string> words{"chat", model, "-n", "6", "--ignore-eos", "--seed", "3"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::vector<Json> lines_of(const std::string& path) {
  std::vector<Json> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("a chat from a pipe answers each message and ends with the input") {
  const auto model = handbook_quern();
  if (!model) return;
  const Outcome outcome =
      quern::test::quern(chat(*model), "What is apt?\n\n/help\n/nonsense\nAnd dpkg?\n");
  CHECK(outcome.status == 0);
  CHECK(outcome.err.find("/reset") != std::string::npos);
  CHECK(outcome.err.find("no command /nonsense") != std::string::npos);
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') >= 2);
}

TEST_CASE("a session file holds each turn, and the chat goes on with it") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string file = folder.file("chat.jsonl"), saved = folder.file("saved.jsonl");
  const auto words = chat(*model, {"--session", file, "--system", "Be brief."});
  REQUIRE(quern::test::quern(words, "One\\\nmore line\n\"\"\"\na\n\nb\n\"\"\"\n/exit\nnever\n")
              .status == 0);
  auto lines = lines_of(file);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0]["messages"][0]["role"] == "system");
  CHECK(lines[1]["messages"][0]["content"] == "One\nmore line");
  CHECK(lines[1]["messages"][1]["role"] == "assistant");
  CHECK(lines[2]["messages"][0]["content"] == "a\n\nb");
  const Outcome second =
      quern::test::quern(chat(*model, {"--session", file}), "Again\n/save " + saved + "\n/reset\n");
  CHECK(second.status == 0);
  CHECK(second.err.find("going on with 5 messages") != std::string::npos);
  REQUIRE(lines_of(saved).size() == 1);
  CHECK(lines_of(saved)[0]["messages"].size() == 7);
  lines = lines_of(file);  // After /reset the system message is left.
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["messages"].size() == 1);
  const Outcome third = quern::test::quern(chat(*model, {"--session", file}),
                                           "/load " + saved + "\n/system\n/load /no/such\n");
  CHECK(third.err.find("loaded 7 messages") != std::string::npos);
  CHECK(third.err.find("system message: Be brief.") != std::string::npos);
  CHECK(lines_of(file)[0]["messages"].size() == 7);
}

TEST_CASE("a damaged session file is set aside and the chat goes on") {
  const auto model = handbook_quern();
  if (!model) return;
  const std::string good =
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]})";
  for (const std::string& damage :
       {std::string("{\"messages\":[{\"role\""), std::string("\x00\xff", 2), std::string("{}\n"),
        std::string(R"({"messages":[{"role":1}]})")}) {
    const quern::testing::TempDir folder;
    const std::string file = folder.write("chat.jsonl", good + "\n" + damage);
    const Outcome outcome = quern::test::quern(chat(*model, {"--session", file}), "Next\n");
    CHECK(outcome.status == 0);
    CHECK(outcome.err.find(".bad") != std::string::npos);
    CHECK(folder.read("chat.jsonl.bad") == good + "\n" + damage);
    const auto lines = lines_of(file);
    REQUIRE(lines.size() == 2);
    CHECK(lines[0] == Json::parse(good));
    CHECK(lines[1]["messages"][0]["content"] == "Next");
  }
}

TEST_CASE("without a chat template there is no system message, which is said") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string plain = folder.file("plain.quern");
  std::filesystem::copy_file(*model, plain);
  quern::formats::QuernTail tail;
  tail.chat_template = "";
  REQUIRE(quern::formats::rewrite_metadata_tail(plain, tail).ok());
  const Outcome asked = quern::test::quern(chat(plain, {"--system", "Be brief."}), "Hello\n");
  CHECK(asked.status == 1);
  CHECK(asked.out.empty());
  CHECK(asked.err.find("there is no system message (--system)") != std::string::npos);
  const Outcome later = quern::test::quern(chat(plain), "/system Be brief.\n/system\nHello\n");
  CHECK(later.status == 0);
  CHECK(later.err.find("without a chat template there is no system message") != std::string::npos);
  CHECK(later.err.find("quern: there is no system message\n") != std::string::npos);
}

TEST_CASE("a session that another chat has open is refused") {
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string file = folder.write("chat.jsonl", "");
  const int other = open(file.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(flock(other, LOCK_EX | LOCK_NB) == 0);
  const Outcome refused = quern::test::quern(chat(*model, {"--session", file}), "Hello\n");
  CHECK(refused.status == 1);
  CHECK(refused.out.empty());
  CHECK(refused.err.find(file + ": another chat") != std::string::npos);
  close(other);
  CHECK(quern::test::quern(chat(*model, {"--session", file}), "Hello\n").status == 0);
  CHECK(lines_of(file).size() == 1);
}

TEST_CASE("a long chat leaves out its oldest turns instead of ending") {
  const auto model = handbook_quern();
  if (!model) return;
  std::string input;
  for (int i = 0; i < 12; ++i)
    input += "Tell me about the package number " + std::to_string(i) + " please\n";
  const Outcome outcome = quern::test::quern(chat(*model, {"--ctx", "96"}), input);
  CHECK(outcome.status == 0);
  CHECK(outcome.err.find("oldest turns") != std::string::npos);
  CHECK(outcome.err.find("fit into the context") == std::string::npos);
}

TEST_CASE("Ctrl-C stops a reply and keeps the chat; at the prompt it ends it with 130") {
  if (!Terminal::available()) return;
  const auto model = handbook_quern();
  if (!model) return;
  const quern::testing::TempDir folder;
  const std::string file = folder.file("chat.jsonl");
  Terminal terminal({"chat", *model, "--ignore-eos", "--session", file, "--temp", "1.5"});
  REQUIRE(terminal.wait_for("> "));
  terminal.type("What is apt?\r");
  REQUIRE(terminal.wait_for("apt?"));
  REQUIRE(terminal.wait_for("\n"));
  for (int word = 0; word < 3; ++word) REQUIRE(terminal.wait_for(" "));  // The reply has begun.
  terminal.type("\x03");
  REQUIRE(terminal.wait_for("stopped"));
  REQUIRE(terminal.wait_for("> "));
  terminal.type("/system\r");
  REQUIRE(terminal.wait_for("no system message"));
  REQUIRE(terminal.wait_for("> "));
  terminal.type("\x03");
  CHECK(terminal.finish() == 130);
  CHECK(lines_of(file).size() == 1);
}

TEST_CASE("Ctrl-C during run is status 130") {
  if (!Terminal::available()) return;
  const auto model = handbook_quern();
  if (!model) return;
  Terminal terminal({"run", *model, "-p", "Debian", "--raw", "--ignore-eos", "--temp", "1.5"});
  REQUIRE(terminal.wait_for(" "));
  terminal.type("\x03");
  CHECK(terminal.finish() == 130);
}
