/// \file
/// The last line of defence of the public API: no exception leaves it.
#pragma once

#include <new>
#include <stdexcept>
#include <utility>

#include "quern/result.h"

namespace quern::base {

/// Calls `work` (returning a Result) and turns exceptions into errors: a failed or absurd
/// allocation is kOutOfMemory, anything else kInternal.
template <class Work>
auto guarded(Work&& work) -> decltype(work()) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "memory ran out");
  } catch (const std::length_error&) {
    return Error(ErrorCode::kOutOfMemory, "memory ran out");
  } catch (...) {
    return Error(ErrorCode::kInternal, "an exception reached the API");
  }
}

}  // namespace quern::base
