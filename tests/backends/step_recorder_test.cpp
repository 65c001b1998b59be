#include "backends/step_recorder.h"

#include <doctest/doctest.h>

#include "support/allocation_probe.h"

using namespace quern;
using backends::StepRecorder;

namespace {

std::unique_ptr<StepRecorder> recorder_of(int threads, std::int64_t max_events) {
  return std::move(
             StepRecorder::create({{"linear", "wq", 3}, {"add", "sum", -1}}, threads, max_events))
      .value();
}

/// One step of two parts on every thread, one after the other.
void run_step(StepRecorder& recorder, int threads, std::int64_t rows) {
  recorder.begin(rows, threads);
  for (int thread = 0; thread < threads; ++thread) {
    recorder.mark(thread, StepRecorder::kStart);
    recorder.mark(thread, StepRecorder::kFirst);
    recorder.mark(thread, StepRecorder::kFirst + 1);
    recorder.mark(thread, StepRecorder::kWait);
  }
  recorder.end();
}

}  // namespace

TEST_CASE("a thread's parts fill its step without a gap") {
  const auto recorder = recorder_of(2, 100);
  run_step(*recorder, 2, 7);
  run_step(*recorder, 2, 1);
  const StepTrace trace = recorder->trace();
  CHECK(trace.threads == 2);
  CHECK(trace.lost_events == 0);
  REQUIRE(trace.parts.size() == StepRecorder::kFirst + 2);
  CHECK(trace.parts[StepRecorder::kFirst].kind == "linear");
  CHECK(trace.parts[StepRecorder::kFirst].name == "wq");
  CHECK(trace.parts[StepRecorder::kFirst].layer == 3);
  CHECK(trace.parts[StepRecorder::kStep].calls == 2);
  for (std::size_t part = StepRecorder::kStart; part < trace.parts.size(); ++part)
    CHECK(trace.parts[part].calls == 4);
  REQUIRE(trace.events.size() == 22);  // Of each step 5 on each thread, and the step itself.
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    const StepTrace::Event& event = trace.events[i];
    CHECK(event.begin_ns <= event.end_ns);
    const bool goes_on = event.part != StepRecorder::kStart && event.part != StepRecorder::kStep;
    if (goes_on) CHECK(event.begin_ns == trace.events[i - 1].end_ns);
  }
  CHECK(trace.events.front().rows == 7);
  CHECK(trace.events.back().rows == 1);
}

TEST_CASE("a full ring forgets the oldest events and keeps every sum") {
  const auto recorder = recorder_of(1, 3);
  for (int step = 0; step < 4; ++step) run_step(*recorder, 1, step);
  const StepTrace trace = recorder->trace();
  REQUIRE(trace.events.size() == 3);
  CHECK(trace.lost_events == 4 * 6 - 3);
  CHECK(trace.events[0].part == StepRecorder::kWait);
  CHECK(trace.events[1].part == StepRecorder::kEnd);
  CHECK(trace.events[2].part == StepRecorder::kStep);
  CHECK(trace.events[2].rows == 3);
  for (const StepTrace::Part& part : trace.parts) CHECK(part.calls == 4);
}

TEST_CASE("recording takes no memory") {
  const auto recorder = recorder_of(2, 4);
  const quern::testing::AllocationProbe probe;
  for (int step = 0; step < 9; ++step) run_step(*recorder, 2, 1);
  CHECK(probe.count() == 0);
}
