// quantize killed from outside at whatever point, and continued.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "process.h"

namespace quern::test {
namespace {

namespace fs = std::filesystem;

/// Bytes of the journal in `folder`; 0 where there is none.
std::uintmax_t journal_bytes(const std::string& folder) {
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".journal") continue;
    const auto bytes = entry.file_size(failed);
    return failed ? 0 : bytes;
  }
  return 0;
}

/// Runs quern and kills it once the journal in `folder` is longer than `bytes`, at the latest when
/// it ends. \return whether it was killed.
bool kill_at(std::vector<std::string> words, const std::string& folder, std::uintmax_t bytes) {
  words.insert(words.begin(), QUERN_PROGRAM);
  std::vector<char*> list;
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDERR_FILENO);
    execv(QUERN_PROGRAM, list.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (journal_bytes(folder) > bytes) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return WIFSIGNALED(status);
}

}  // namespace

TEST_CASE("quantize killed by the system is continued to the same bytes") {
  const auto model = handbook_quern();
  if (!model) return;
  const testing::TempDir folder;
  const std::string whole = folder.file("whole.quern"), output = folder.file("out.quern");
  const std::vector<std::string> common{"quantize", *model, "--encoding", "q6"};
  const auto command = [&](const std::string& path, bool resume) {
    std::vector<std::string> words = common;
    words.insert(words.end(), {"-o", path});
    if (resume) words.push_back("--resume");
    return words;
  };
  REQUIRE(quern(command(whole, false)).status == 0);
  // Every run is killed and the next one goes on.
  int kills = 0;
  for (const std::uintmax_t bytes : {1500u, 3000u, 5000u, 8000u}) {
    if (kill_at(command(output, true), folder.path(), bytes)) ++kills;
  }
  CHECK(kills >= 2);
  const Outcome last = quern(command(output, true));
  CAPTURE(last.err);
  CHECK(last.status == 0);
  CHECK(folder.read("out.quern") == folder.read("whole.quern"));
  CHECK(folder.entries() == 2);
}

TEST_CASE("quantize with another argument says why it cannot continue") {
  const auto model = handbook_quern();
  if (!model) return;
  const testing::TempDir folder;
  const std::string output = folder.file("out.quern");
  const std::vector<std::string> first{"quantize", *model, "-o", output};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), first.begin(), first.end());
    return more;
  };
  if (!kill_at(with({"--encoding", "q4"}), folder.path(), 1000)) return;
  const Outcome other = quern(with({"--encoding", "q5", "--resume", "--no-self-test"}));
  CHECK(other.status == 1);
  for (const char* part : {"encoding", "q4", "q5", "out.quern"}) {
    CHECK_MESSAGE(other.err.find(part) != std::string::npos, other.err);
  }
  CHECK(quern(with({"--encoding", "q5"})).status == 0);
  CHECK(folder.entries() == 1);
}

}  // namespace quern::test
