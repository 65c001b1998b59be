/// \file
/// Talking to people and pipes: stdout for data, stderr for everything else, progress, Ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "quern/model.h"
#include "quern/result.h"

namespace quern::cli {

/// Writes data to stdout at once. \return false where nobody takes it (pipe closed, disk full).
bool put(std::string_view text);

/// \return kDone, or kRefused where stdout failed; says so unless the reader merely went away.
int finish_stdout();

/// One line to stderr, prefixed "quern: "; control characters are shown escaped.
void tell(std::string_view sentence);

/// Tells an error in one sentence with advice. \return the exit status that it asks for.
int fail(const Error& error);

/// The same for a wrong command line. \return kUsage.
int usage(std::string_view sentence);

/// \return whether the environment variable QUERN_LOG names `topic`: "load", "dispatch" or "time".
bool log_wanted(std::string_view topic);

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

/// Shows "what 42 %" on a terminal's stderr once the work has taken a second; silent otherwise.
/// Thread rule: one thread.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();  ///< Wipes the line.

  void show(std::uint64_t done, std::uint64_t total);
  /// \return a callback for the library; cancels on Ctrl-C. Valid as long as the bar.
  Progress callback();

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  Clock::time_point start_ = Clock::now(), last_ = start_;
  bool shown_ = false;
  bool enabled_;
};

/// Installs the handlers: Ctrl-C ends the program with status 130 and the terminal as it was found,
/// unless an `InterruptScope` is open; SIGTERM and SIGHUP end it so in any case, with their own
/// status; a closed pipe is an error of `put`, not a signal, and a limit of file sizes one of the
/// write; a mapped file that becomes shorter ends the program with a sentence and status 1.
void install_signal_handlers();

/// Has a signal that ends the program remove `file` (one at a time); empty: no longer.
void remove_on_signal(const std::string& file);

/// While open, Ctrl-C only sets `flag()`; the second one in a row ends the program.
class InterruptScope {
 public:
  InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  ~InterruptScope();
  static const std::atomic<bool>& flag();
};

/// \return whether Ctrl-C was pressed in the current or last scope.
bool interrupted();

}  // namespace quern::cli
