/// \file
/// One run at a time per executor, whichever models and sessions share it.
#pragma once

#include <memory>
#include <mutex>

#include "quern/executor.h"

namespace quern::runtime {

/// \return the mutex to hold during a run on `executor`: the same one for the same executor, also
/// where a host hands it to several models. Thread rule: any thread.
std::shared_ptr<std::mutex> executor_lock(const std::shared_ptr<Executor>& executor);

}  // namespace quern::runtime
