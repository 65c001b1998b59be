/// \file
/// Independent pieces of work on all threads of an executor.
#pragma once

#include <cstddef>
#include <functional>

#include "quern/executor.h"
#include "quern/result.h"

namespace quern::convert {

/// Calls work(i, thread) for i in [0, count), i = thread, thread + threads, … on one thread each.
/// \return the error of the smallest i; kOutOfMemory where an allocation failed.
Status run_parallel(Executor& executor, std::size_t count,
                    const std::function<Status(std::size_t i, int thread)>& work);

}  // namespace quern::convert
