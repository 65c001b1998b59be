/// \file
/// Independent pieces of work on all threads of an executor.
#pragma once

#include <cstddef>
#include <functional>

#include "quern/executor.h"
#include "quern/result.h"

namespace quern::convert {

/// Calls work(i, thread) for every i in [0, count), each on the thread that is free first.
/// \return the error of the smallest i; kOutOfMemory where an allocation failed.
Status run_parallel(Executor& executor, std::size_t count,
                    const std::function<Status(std::size_t i, int thread)>& work);

}  // namespace quern::convert
