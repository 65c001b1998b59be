/// \file
/// Running the program as people do: arguments, stdin, both outputs, the exit status.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/temp_dir.h"

namespace quern::test {

struct Outcome {
  int status = -1;  ///< Exit status, or 1000 + the signal that ended it.
  std::string out, err;
};

/// Runs a program to its end.
Outcome run_program(const std::string& program, const std::vector<std::string>& arguments,
                    std::string_view input = {},
                    const std::map<std::string, std::string>& environment = {});
/// The program `quern` of this build.
Outcome quern(const std::vector<std::string>& arguments, std::string_view input = {},
              const std::map<std::string, std::string>& environment = {});

/// The program on a terminal of its own. Thread rule: one thread.
class Terminal {
 public:
  /// Whether this system has pseudo-terminals (a bare chroot without /dev/pts has none); a failure
  /// in CI.
  static bool available();
  explicit Terminal(const std::vector<std::string>& arguments);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  void type(std::string_view keys);
  /// Waits until the output since the last success holds `text`, at most a minute.
  bool wait_for(const std::string& text);
  /// Waits for the end. \return the exit status, −1 where it does not come.
  int finish();
  const std::string& seen() const { return seen_; }

 private:
  bool read_some();
  int master_ = -1, pid_ = -1;
  std::string seen_;
  std::size_t matched_ = 0;
};

/// Reference data; nullopt where absent (a failure where CI is set).
std::optional<std::string> reference(const std::string& path_below_goldens);
/// The trained decoder, and the same as a `.quern` file made by the program once.
std::optional<std::string> handbook();
std::optional<std::string> handbook_quern();

}  // namespace quern::test
