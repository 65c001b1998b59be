#include "runtime/executor_lock.h"

#include <map>

namespace quern::runtime {

std::shared_ptr<std::mutex> executor_lock(const std::shared_ptr<Executor>& executor) {
  static std::mutex table_mutex;
  static std::map<const Executor*, std::weak_ptr<std::mutex>> table;
  const std::lock_guard lock(table_mutex);
  // Entries of models that are gone would pile up in a host that opens and closes many.
  std::erase_if(table, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<std::mutex>& slot = table[executor.get()];
  std::shared_ptr<std::mutex> mutex = slot.lock();
  if (!mutex) {
    mutex = std::make_shared<std::mutex>();
    slot = mutex;
  }
  return mutex;
}

}  // namespace quern::runtime
