#include "backends/step_recorder.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace quern::backends {
namespace {

std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Result<std::unique_ptr<StepRecorder>> StepRecorder::create(std::vector<StepLabel> labels,
                                                           int threads, std::int64_t max_events) {
  // Pages of the ring are only taken where events are written.
  QUERN_TRY(memory, base::PageBuffer::allocate(static_cast<std::uint64_t>(threads) *
                                               static_cast<std::uint64_t>(max_events) *
                                               sizeof(StepTrace::Event)));
  return std::unique_ptr<StepRecorder>(
      new StepRecorder(std::move(labels), threads, max_events, std::move(memory)));
}

StepRecorder::StepRecorder(std::vector<StepLabel> labels, int threads, std::int64_t max_events,
                           base::PageBuffer memory)
    : labels_(std::move(labels)),
      max_events_(static_cast<std::uint64_t>(max_events)),
      memory_(std::move(memory)),
      lanes_(static_cast<std::size_t>(threads)) {
  for (std::size_t thread = 0; thread < lanes_.size(); ++thread) {
    lanes_[thread].sums.resize(kFirst + labels_.size());
    lanes_[thread].ring =
        reinterpret_cast<StepTrace::Event*>(memory_.data()) + thread * max_events_;
  }
}

void StepRecorder::begin(std::int64_t rows, int threads) noexcept {
  active_ = static_cast<std::size_t>(threads);
  rows_ = rows;
  begin_ns_ = now_ns();
  for (Lane& lane : lanes_) lane.last_ns = begin_ns_;
}

void StepRecorder::mark(int thread, std::uint32_t part) noexcept {
  Lane& lane = lanes_[static_cast<std::size_t>(thread)];
  const std::int64_t now = now_ns();
  record(thread, part, lane.last_ns, now);
  lane.last_ns = now;
}

void StepRecorder::end() noexcept {
  const std::int64_t now = now_ns();
  for (std::size_t thread = 0; thread < active_; ++thread)
    record(static_cast<int>(thread), kEnd, lanes_[thread].last_ns, now);
  record(0, kStep, begin_ns_, now);
}

void StepRecorder::record(int thread, std::uint32_t part, std::int64_t begin_ns,
                          std::int64_t end_ns) noexcept {
  Lane& lane = lanes_[static_cast<std::size_t>(thread)];
  Sum& sum = lane.sums[part];
  ++sum.calls;
  sum.busy_ns += static_cast<std::uint64_t>(end_ns - begin_ns);
  lane.ring[lane.written++ % max_events_] = {part, thread, rows_, begin_ns, end_ns};
}

StepTrace StepRecorder::trace() const {
  StepTrace trace;
  trace.threads = static_cast<int>(lanes_.size());
  for (const char* kind : {"step", "start", "wait", "end"})
    trace.parts.push_back({kind, {}, -1, 0, 0});
  for (const StepLabel& label : labels_)
    trace.parts.push_back({label.kind, label.name, label.layer, 0, 0});
  for (const Lane& lane : lanes_) {
    for (std::size_t part = 0; part < lane.sums.size(); ++part) {
      trace.parts[part].calls += lane.sums[part].calls;
      trace.parts[part].busy_ns += lane.sums[part].busy_ns;
    }
    const std::uint64_t kept = std::min(lane.written, max_events_);
    for (std::uint64_t i = lane.written - kept; i < lane.written; ++i)
      trace.events.push_back(lane.ring[i % max_events_]);
    trace.lost_events += lane.written - kept;
  }
  return trace;
}

}  // namespace quern::backends
