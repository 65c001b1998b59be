/// \file
/// Where the time of a session's steps went.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quern {

/// A copy of what a session recorded (SessionOptions::trace_events). Times in nanoseconds of a
/// steady clock.
struct StepTrace {
  /// One piece of work of the compiled model, summed over all steps and threads.
  struct Part {
    /// An op's word; "step": a whole step; "start": from its begin until a thread runs; "wait": at
    /// barriers; "end": from a thread's last barrier until all are done.
    std::string kind;
    std::string name;         ///< The op's result, e.g. "w_gate"; empty for those four.
    std::int32_t layer = -1;  ///< Layer of the model; −1: none.
    std::uint64_t calls = 0, busy_ns = 0;
  };
  /// One call on one thread.
  struct Event {
    std::uint32_t part = 0;  ///< Index into `parts`.
    std::int32_t thread = 0;
    std::int64_t rows = 0;  ///< Of the step.
    std::int64_t begin_ns = 0, end_ns = 0;
  };

  int threads = 0;
  std::vector<Part> parts;        ///< In the order in which a step runs them.
  std::vector<Event> events;      ///< By thread, in order of their end.
  std::uint64_t lost_events = 0;  ///< Older ones, which newer ones took the place of.
};

}  // namespace quern
