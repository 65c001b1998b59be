#include "terminal.h"

#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "command.h"
#include "model_path.h"

namespace quern::cli {
namespace {

int stdout_error = 0;  // The first errno of a failed write.

std::atomic<bool> interrupt_flag{false};
std::atomic<bool> scope_open{false};
static_assert(std::atomic<bool>::is_always_lock_free, "used by a signal handler");
termios found_terminal{};
bool terminal_found = false;

/// What a signal that ends the program takes along.
char doomed_file[4096];
std::atomic<bool> is_doomed{false};

/// The terminal as it was found, and no half of a file. Only calls what POSIX allows in a handler.
void tidy_up() {
  if (terminal_found) tcsetattr(STDIN_FILENO, TCSANOW, &found_terminal);
  if (is_doomed.load()) unlink(doomed_file);
}

/// The same rule.
void on_interrupt(int) {
  if (scope_open.load() && !interrupt_flag.exchange(true)) return;
  tidy_up();
  const char newline = '\n';
  if (write(STDERR_FILENO, &newline, 1) < 0) _exit(kInterrupted);
  _exit(kInterrupted);
}

/// The same rule; the signal then does what it does without a handler.
void on_end(int signal_number) {
  tidy_up();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

/// A mapped file lost the pages that were read, or its disk did. The same rule.
void on_lost_pages(int) {
  tidy_up();
  constexpr char kSentence[] =
      "quern: a file that was in use became shorter, or its disk failed; keep model files as they "
      "are while they are used\n";
  if (write(STDERR_FILENO, kSentence, sizeof(kSentence) - 1) < 0) _exit(kRefused);
  _exit(kRefused);
}

/// \return what to do; empty where the error says it.
std::string_view advice(const Error& error) {
  if (error.message.find("--ignore-unused") != std::string::npos) return {};
  if (error.file.find(", line ") != std::string::npos) return "mend the line";
  if (error.field == "driver" || error.field == "device")
    return "run it on the processor: --device cpu";
  switch (error.code) {
    case ErrorCode::kIo:
      return "check the path, its permissions and the space left";
    case ErrorCode::kTruncated:
    case ErrorCode::kMalformed:
    case ErrorCode::kChecksum:
      return "the file is damaged or of another kind: fetch or convert it again";
    case ErrorCode::kUnsupported:
      return "this version cannot do that: see the limits in the README";
    case ErrorCode::kOutOfRange:
      return "give a value inside the range";
    case ErrorCode::kMissing:
      return "use a complete model or file";
    case ErrorCode::kMismatch:
      return "use files that belong together";
    case ErrorCode::kLimit:
      return "give less, or raise the limit";
    case ErrorCode::kInvalidArgument:
      return "change the argument";
    case ErrorCode::kOutOfMemory:
      return "try a smaller --ctx, --batch or model";
    case ErrorCode::kCancelled:
      return "nothing was kept";
    case ErrorCode::kTemplateRaised:
      return "the chat template refuses this conversation";
    case ErrorCode::kInternal:
      return "this is a bug in quern: please report it";
  }
  return "";
}

}  // namespace

bool put(std::string_view text) {
  if (stdout_error != 0) return false;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    stdout_error = errno != 0 ? errno : EIO;
  return stdout_error == 0;
}

int finish_stdout() {
  if (put("")) return kDone;
  if (stdout_error != EPIPE)
    tell(std::string("standard output cannot be written: ") + std::strerror(stdout_error) +
         "; check the space left");
  return kRefused;
}

void tell(std::string_view sentence) {
  std::string line = "quern: ";
  for (const char c : sentence) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      line += c;
    } else {
      char escaped[5];
      std::snprintf(escaped, sizeof(escaped), "\\x%02x", byte);
      line += escaped;
    }
  }
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

int fail(const Error& error) {
  if (error.code == ErrorCode::kCancelled && interrupted()) return kInterrupted;
  Error shown = error;
  shown.file = shown_path(error.file);
  const std::string_view what_to_do = advice(error);
  tell(shown.describe() + (what_to_do.empty() ? "" : "; " + std::string(what_to_do)));
  return kRefused;
}

int usage(std::string_view sentence) {
  tell(sentence);
  return kUsage;
}

bool log_wanted(std::string_view topic) {
  const char* wanted = std::getenv("QUERN_LOG");
  if (wanted == nullptr) return false;
  const std::string topics = std::string(",") + wanted + ",";
  return topics.find("," + std::string(topic) + ",") != std::string::npos;
}

bool stdin_is_terminal() { return isatty(STDIN_FILENO) == 1; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

ProgressBar::ProgressBar(std::string what)
    : what_(std::move(what)), enabled_(stderr_is_terminal()) {}

ProgressBar::~ProgressBar() {
  if (shown_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::show(std::uint64_t done, std::uint64_t total) {
  const auto now = Clock::now();
  if (!enabled_ || total == 0 || now - start_ < std::chrono::seconds(1) ||
      now - last_ < std::chrono::milliseconds(100))
    return;
  last_ = now;
  shown_ = true;
  constexpr int kWidth = 30;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const int filled = static_cast<int>(share * kWidth);
  std::string bar(kWidth, '.');
  for (int i = 0; i < filled && i < kWidth; ++i) bar[static_cast<std::size_t>(i)] = '#';
  std::fprintf(stderr, "\r%s [%s] %3.0f %%\x1b[K", what_.c_str(), bar.c_str(), share * 100.0);
  std::fflush(stderr);
}

Progress ProgressBar::callback() {
  return [this](std::uint64_t done, std::uint64_t total) {
    show(done, total);
    return !interrupted();
  };
}

void install_signal_handlers() {
  terminal_found = tcgetattr(STDIN_FILENO, &found_terminal) == 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  action.sa_handler = on_end;
  for (const int ends : {SIGTERM, SIGHUP}) {
    struct sigaction found {};
    const bool ignored = sigaction(ends, nullptr, &found) == 0 && found.sa_handler == SIG_IGN;
    if (!ignored) sigaction(ends, &action, nullptr);  // nohup means it.
  }
  action.sa_handler = on_lost_pages;
  sigaction(SIGBUS, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);
}

void remove_on_signal(const std::string& file) {
  is_doomed.store(false);
  if (file.empty() || file.size() >= sizeof(doomed_file)) return;
  std::memcpy(doomed_file, file.c_str(), file.size() + 1);
  is_doomed.store(true);
}

InterruptScope::InterruptScope() {
  interrupt_flag.store(false);
  scope_open.store(true);
}

InterruptScope::~InterruptScope() { scope_open.store(false); }

const std::atomic<bool>& InterruptScope::flag() { return interrupt_flag; }

bool interrupted() { return interrupt_flag.load(); }

}  // namespace quern::cli
