#include "text/tokenizer/split.h"

#include <algorithm>

namespace quern::text {

using formats::SplitBehavior;

void cover(const std::vector<ByteRange>& matches, std::size_t length, bool invert,
           std::vector<Stretch>& out) {
  std::size_t covered = 0;
  for (const ByteRange& match : matches) {
    if (covered != match.begin) out.push_back({{covered, match.begin}, invert});
    out.push_back({match, !invert});
    covered = match.end;
  }
  if (covered != length) out.push_back({{covered, length}, invert});
}

namespace {

/// Joins a stretch to the one before it wherever `joins(is_match, previous_was_match)` says so.
template <class Joins>
std::vector<ByteRange> join(const std::vector<Stretch>& stretches, Joins joins) {
  std::vector<ByteRange> out;
  bool previous = false;
  for (const Stretch& stretch : stretches) {
    if (joins(stretch.is_match, previous) && !out.empty()) {
      out.back().end = stretch.range.end;
    } else {
      out.push_back(stretch.range);
    }
    previous = stretch.is_match;
  }
  return out;
}

/// A match joins the stretch that follows it, unless that is a match itself.
std::vector<ByteRange> join_with_next(const std::vector<Stretch>& stretches) {
  std::vector<ByteRange> out;
  bool previous = false;
  for (auto it = stretches.rbegin(); it != stretches.rend(); ++it) {
    if (it->is_match && !previous && !out.empty()) {
      out.back().begin = it->range.begin;
    } else {
      out.push_back(it->range);
    }
    previous = it->is_match;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

void cut(const std::vector<Stretch>& stretches, SplitBehavior behavior, std::size_t shift,
         std::vector<ByteRange>& out) {
  const auto keep = [&](const ByteRange& range) {
    if (range.begin < range.end) out.push_back({range.begin + shift, range.end + shift});
  };
  if (behavior == SplitBehavior::kRemoved || behavior == SplitBehavior::kIsolated) {
    for (const Stretch& stretch : stretches) {
      if (behavior == SplitBehavior::kIsolated || !stretch.is_match) keep(stretch.range);
    }
    return;
  }
  std::vector<ByteRange> joined;
  if (behavior == SplitBehavior::kContiguous) {
    joined = join(stretches, [](bool match, bool previous) { return match == previous; });
  } else if (behavior == SplitBehavior::kMergedWithPrevious) {
    joined = join(stretches, [](bool match, bool previous) { return match && !previous; });
  } else {
    joined = join_with_next(stretches);
  }
  for (const ByteRange& range : joined) keep(range);
}

}  // namespace quern::text
