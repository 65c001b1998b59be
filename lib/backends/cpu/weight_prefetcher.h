/// \file
/// Weights on their way into the cache while a thread waits for the others.
///
/// A step of few rows is bound by memory, and a thread that waits at a barrier leaves its share of
/// the bandwidth unused. It knows which weights it will read next, so it asks for them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "backends/cpu/schedule.h"
#include "backends/cpu/step.h"

namespace quern::backends::cpu {

/// What one thread reads of the weights of one step.
struct WeightPart {
  std::size_t run;    ///< In Schedule::runs.
  std::size_t first;  ///< Bytes of all parts before.
  std::span<const std::byte> bytes;
};

/// In the order of reading.
std::vector<WeightPart> weight_parts(std::span<const std::unique_ptr<Step>> steps,
                                     const Schedule& schedule, int thread, int threads);

/// Walks the parts of a thread through one step. Thread rule: one thread.
class WeightPrefetcher {
 public:
  explicit WeightPrefetcher(std::span<const WeightPart> parts) noexcept : parts_(parts) {}

  /// What stands before `run` has been read. Runs are named in ascending order.
  void skip_to(std::size_t run) noexcept {
    while (read_ < parts_.size() && parts_[read_].run < run) ++read_;
    if (part_ >= read_) return;
    part_ = read_;
    at_ = 0;
  }

  /// Asks for the next few lines, until kAheadBytes are on their way.
  void fetch_some() noexcept {
    if (part_ == parts_.size() || parts_[part_].first + at_ - parts_[read_].first >= kAheadBytes)
      return;
    const std::span<const std::byte> bytes = parts_[part_].bytes;
    for (int line = 0; line < kLinesAtOnce && at_ < bytes.size(); ++line, at_ += kLineBytes)
      __builtin_prefetch(bytes.data() + at_, 0, 2);  // Into the second-level cache.
    if (at_ < bytes.size()) return;
    ++part_;
    at_ = 0;
  }

 private:
  static constexpr std::size_t kLineBytes = 64;
  static constexpr int kLinesAtOnce = 4;
  static constexpr std::size_t kAheadBytes = 256 * 1024;  ///< Half of a small second-level cache.

  std::span<const WeightPart> parts_;
  std::size_t read_ = 0;           ///< The first part that has not been read.
  std::size_t part_ = 0, at_ = 0;  ///< The next line to ask for.
};

}  // namespace quern::backends::cpu
