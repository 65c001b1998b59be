#include "runtime/stop_matcher.h"

#include <algorithm>
#include <cstddef>

namespace quern::runtime {
namespace {

/// \return the length of the longest suffix of `text` that is a proper prefix of `stop`.
std::size_t overlap(std::string_view text, std::string_view stop) {
  std::size_t length = std::min(text.size(), stop.size() - 1);
  while (length > 0 && text.substr(text.size() - length) != stop.substr(0, length)) --length;
  return length;
}

}  // namespace

std::string_view StopMatcher::push(std::string_view piece) {
  ready_.clear();
  if (stopped_) return ready_;
  held_.append(piece);
  std::size_t first_end = std::string::npos, begin = 0;
  for (const std::string& stop : stops_) {
    const std::size_t found = held_.find(stop);
    if (found == std::string::npos) continue;
    const std::size_t end = found + stop.size();
    if (first_end == std::string::npos || end < first_end || (end == first_end && found < begin)) {
      first_end = end;
      begin = found;
    }
  }
  if (first_end != std::string::npos) {
    stopped_ = true;
    ready_.assign(held_, 0, begin);
    held_.clear();
    return ready_;
  }
  std::size_t keep = 0;
  for (const std::string& stop : stops_) keep = std::max(keep, overlap(held_, stop));
  ready_.assign(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return ready_;
}

std::string_view StopMatcher::finish() {
  ready_.swap(held_);
  held_.clear();
  return ready_;
}

}  // namespace quern::runtime
