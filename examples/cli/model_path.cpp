#include "model_path.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <vector>

namespace quern::cli {
namespace {

Error stdin_error(const char* what) {
  return Error(ErrorCode::kIo, std::string(what) + ": " + std::strerror(errno)).in_file("stdin");
}

/// Copies stdin to a temporary file that has no name, so that no end of the program leaves it
/// behind.
Result<int> copy_stdin() {
  std::FILE* copy = std::tmpfile();  // Stays open: the library opens it by its number.
  if (copy == nullptr) return stdin_error("no temporary file can be made");
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return stdin_error("cannot be read");
    if (got == 0) break;
    if (std::fwrite(buffer, 1, static_cast<std::size_t>(got), copy) !=
        static_cast<std::size_t>(got))
      return stdin_error("cannot be copied to a temporary file");
  }
  if (std::fflush(copy) != 0) return stdin_error("cannot be copied to a temporary file");
  return fileno(copy);
}

/// The path of stdin once it was asked for. Thread rule: the main thread's.
std::optional<std::string> stdin_path;
/// What else was asked for. The same thread rule.
std::vector<std::string> models_in_use;

}  // namespace

bool is_model_in_use(const std::string& path) {
  return std::any_of(models_in_use.begin(), models_in_use.end(), [&](const std::string& model) {
    std::error_code failed;
    return std::filesystem::equivalent(model, path, failed) && !failed;
  });
}

Result<std::string> model_path(const std::string& named) {
  if (named != "-") {
    models_in_use.push_back(named);
    return named;
  }
  if (stdin_path) return *stdin_path;
  struct stat info {};
  if (fstat(STDIN_FILENO, &info) != 0) return stdin_error("cannot be read");
  int descriptor = STDIN_FILENO;
  // A file that nothing was read of yet serves as it is.
  if (!S_ISREG(info.st_mode) || lseek(STDIN_FILENO, 0, SEEK_CUR) != 0) {
    QUERN_TRY(copy, copy_stdin());
    descriptor = copy;
  }
  stdin_path = "/dev/fd/" + std::to_string(descriptor);
  return *stdin_path;
}

std::string shown_path(const std::string& path) { return path == stdin_path ? "stdin" : path; }

bool stdin_twice(std::initializer_list<std::string_view> inputs) {
  return std::count(inputs.begin(), inputs.end(), "-") > 1;
}

}  // namespace quern::cli
