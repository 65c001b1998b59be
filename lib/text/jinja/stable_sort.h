/// \file
/// The sort behind `sort`, `dictsort` and `groupby`.
#pragma once

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "quern/result.h"

namespace quern::text::jinja {

/// Sorts with a comparison (returning Result<bool>) that can fail; its error ends the sort.
// std::stable_sort must not be stopped half way by an error, and an inconsistent order (NaN) must
// not harm it; a bottom-up merge sort has neither problem.
template <class T, class Less>
Status stable_sort(std::vector<T>& items, Less less_than) {
  std::vector<T> merged;
  for (std::size_t width = 1; width < items.size(); width *= 2) {
    merged.clear();
    merged.reserve(items.size());
    for (std::size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, items.size());
      const std::size_t end = std::min(begin + 2 * width, items.size());
      std::size_t left = begin;
      std::size_t right = middle;
      while (left < middle && right < end) {
        QUERN_TRY(right_first, less_than(items[right], items[left]));
        merged.push_back(std::move(items[right_first ? right++ : left++]));
      }
      const auto at = [&items](std::size_t i) {
        return items.begin() + static_cast<std::ptrdiff_t>(i);
      };
      std::move(at(left), at(middle), std::back_inserter(merged));
      std::move(at(right), at(end), std::back_inserter(merged));
    }
    items.swap(merged);
  }
  return {};
}

}  // namespace quern::text::jinja
