#include "base/log.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

namespace quern {
namespace {

// Function-local statics, because a sink may be set before or after other statics come and go.
std::mutex& sink_mutex() {
  static std::mutex mutex;
  return mutex;
}
std::shared_ptr<const LogSink>& sink_slot() {
  static std::shared_ptr<const LogSink> slot;
  return slot;
}
std::atomic<bool> sink_set{false};

}  // namespace

void set_log_sink(LogSink sink) {
  const bool set = static_cast<bool>(sink);
  auto next = set ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  const std::lock_guard lock(sink_mutex());
  sink_slot().swap(next);
  sink_set.store(set, std::memory_order_release);
}

namespace base {

bool logging() noexcept { return sink_set.load(std::memory_order_acquire); }

void log(std::string_view topic, std::string_view line) noexcept {
  if (!logging()) return;
  try {
    std::shared_ptr<const LogSink> sink;
    {
      const std::lock_guard lock(sink_mutex());
      sink = sink_slot();
    }
    // Called outside the lock, so that a sink may log or replace itself.
    if (sink) (*sink)(topic, line);
  } catch (...) {
    return;  // The host's sink failed; the work that it was told of goes on.
  }
}

}  // namespace base
}  // namespace quern
