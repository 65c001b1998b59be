#include "process.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cstdlib>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

extern char** environ;

namespace quern::test {
namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> list;
  for (std::string& text : strings) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

int status_of(int raw) { return WIFEXITED(raw) ? WEXITSTATUS(raw) : 1000 + WTERMSIG(raw); }

}  // namespace

Outcome run_program(const std::string& program, const std::vector<std::string>& arguments,
                    std::string_view input, const std::map<std::string, std::string>& environment) {
  // Files instead of pipes: no deadlock, whatever is written when.
  const testing::TempDir folder;
  const std::string in = folder.write("in", input), out = folder.file("out"),
                    err = folder.file("err");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT, 0600);
  std::vector<std::string> words{program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name = std::string(*entry).substr(0, std::string_view(*entry).find('='));
    if (environment.count(name) == 0) variables.emplace_back(*entry);
  }
  pid_t pid = 0;
  Outcome outcome;
  const int failed = posix_spawn(&pid, program.c_str(), &actions, nullptr, pointers(words).data(),
                                 pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  REQUIRE(failed == 0);
  int raw = 0;
  REQUIRE(waitpid(pid, &raw, 0) == pid);
  outcome.status = status_of(raw);
  outcome.out = folder.read("out");
  outcome.err = folder.read("err");
  return outcome;
}

Outcome quern(const std::vector<std::string>& arguments, std::string_view input,
              const std::map<std::string, std::string>& environment) {
  return run_program(QUERN_PROGRAM, arguments, input, environment);
}

bool Terminal::available() {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master >= 0) {
    close(master);
    return true;
  }
  if (std::getenv("CI") != nullptr) FAIL("no pseudo-terminals: is /dev/pts mounted?");
  MESSAGE("left out: no pseudo-terminals here, for /dev/pts is not mounted");
  return false;
}

Terminal::Terminal(const std::vector<std::string>& arguments) {
  master_ = posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(master_ >= 0);
  REQUIRE(grantpt(master_) == 0);
  REQUIRE(unlockpt(master_) == 0);
  const std::string slave = ptsname(master_);
  std::vector<std::string> words{QUERN_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const std::vector<char*> list = pointers(words);
  pid_ = fork();
  REQUIRE(pid_ >= 0);
  if (pid_ ==
      0) {  // The child opens the terminal as the leader of a session, which makes it its own.
    setsid();
    const int terminal = open(slave.c_str(), O_RDWR);
    for (int i = 0; i < 3; ++i) dup2(terminal, i);
    close(master_);
    execv(QUERN_PROGRAM, list.data());
    _exit(127);
  }
}

Terminal::~Terminal() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (master_ >= 0) close(master_);
}

void Terminal::type(std::string_view keys) {
  while (!keys.empty()) {
    const ssize_t written = write(master_, keys.data(), keys.size());
    REQUIRE(written > 0);
    keys.remove_prefix(static_cast<std::size_t>(written));
  }
}

bool Terminal::read_some() {
  pollfd wanted{master_, POLLIN, 0};
  if (poll(&wanted, 1, 100) <= 0) return true;
  char buffer[4096];
  const ssize_t got = read(master_, buffer, sizeof(buffer));
  if (got <= 0) return false;
  seen_.append(buffer, static_cast<std::size_t>(got));
  return true;
}

bool Terminal::wait_for(const std::string& text) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < end) {
    const std::size_t found = seen_.find(text, matched_);
    if (found != std::string::npos) {
      matched_ = found + text.size();
      return true;
    }
    if (!read_some()) break;
  }
  return false;
}

int Terminal::finish() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < end) {
    read_some();
    int raw = 0;
    if (waitpid(pid_, &raw, WNOHANG) == pid_) {
      pid_ = -1;
      return status_of(raw);
    }
  }
  return -1;
}

std::optional<std::string> reference(const std::string& path_below_goldens) {
  const auto path = std::filesystem::path(QUERN_GOLDENS_DIR) / path_below_goldens;
  if (std::filesystem::exists(path)) return path.string();
  if (std::getenv("CI") != nullptr) {
    FAIL_CHECK("the reference data are absent: " << path.string());
  } else {
    MESSAGE("the reference data are absent: " << path.string());
  }
  return std::nullopt;
}

std::optional<std::string> handbook() { return reference("../eval/models/handbook-12m"); }

std::optional<std::string> handbook_quern() {
  static const testing::TempDir folder;
  static std::optional<std::string> made;
  const auto source = handbook();
  if (!source) return std::nullopt;
  if (!made) {
    const std::string path = folder.file("handbook.quern");
    const Outcome outcome = quern({"convert", *source, "-o", path});
    CAPTURE(outcome.err);
    REQUIRE(outcome.status == 0);
    made = path;
  }
  return made;
}

}  // namespace quern::test
