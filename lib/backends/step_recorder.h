/// \file
/// Records which part of a step took which thread how long.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/page_buffer.h"
#include "quern/result.h"
#include "quern/trace.h"

namespace quern::backends {

/// What one part is called; see StepTrace::Part.
struct StepLabel {
  std::string kind, name;
  std::int32_t layer;
};

/// Each thread has a ring of events and a row of sums of its own, so that recording takes no lock
/// and no memory: two looks at the clock a part. Thread rule: `begin`, `end` and `trace` by one
/// thread, between the runs of the others; `mark` by each thread for itself.
class StepRecorder {
 public:
  /// The parts before those of `labels`.
  static constexpr std::uint32_t kStep = 0, kStart = 1, kWait = 2, kEnd = 3, kFirst = 4;

  /// \param max_events events kept of each thread, at least 1. kOutOfMemory.
  static Result<std::unique_ptr<StepRecorder>> create(std::vector<StepLabel> labels, int threads,
                                                      std::int64_t max_events);

  /// A step of `rows` rows begins on the first `threads` threads.
  void begin(std::int64_t rows, int threads) noexcept;
  /// The time of `thread` since its last mark, or since the step began, belongs to `part`.
  void mark(int thread, std::uint32_t part) noexcept;
  /// The step is over.
  void end() noexcept;

  StepTrace trace() const;

 private:
  struct Sum {
    std::uint64_t calls, busy_ns;
  };
  struct alignas(64) Lane {
    std::int64_t last_ns = 0;
    std::uint64_t written = 0;
    std::vector<Sum> sums;  ///< By part.
    StepTrace::Event* ring = nullptr;
  };
  StepRecorder(std::vector<StepLabel> labels, int threads, std::int64_t max_events,
               base::PageBuffer memory);
  void record(int thread, std::uint32_t part, std::int64_t begin_ns, std::int64_t end_ns) noexcept;

  const std::vector<StepLabel> labels_;
  const std::uint64_t max_events_;
  const base::PageBuffer memory_;
  std::vector<Lane> lanes_;
  std::size_t active_ = 0;  ///< Threads of the present step.
  std::int64_t rows_ = 0, begin_ns_ = 0;
};

}  // namespace quern::backends
