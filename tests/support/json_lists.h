/// \file
/// Recorded lists of numbers.
#pragma once

#include <vector>

#include "formats/json.h"

namespace quern::testing {

/// The numbers of an array.
template <class T>
std::vector<T> numbers_of(const formats::Json& list) {
  std::vector<T> numbers;
  for (const formats::Json& value : list) numbers.push_back(static_cast<T>(value.number()));
  return numbers;
}

}  // namespace quern::testing
