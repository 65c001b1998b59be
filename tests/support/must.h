/// \file
/// The value of what must go well.
#pragma once

#include <doctest/doctest.h>

#include <utility>

#include "quern/result.h"

namespace quern::testing {

/// The value; without one the test ends with the error's sentence.
template <class T>
T must(Result<T> result) {
  if (!result.ok()) FAIL(result.error().describe());
  return std::move(result).value();
}

}  // namespace quern::testing
