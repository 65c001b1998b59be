#include "base/thread_pace.h"

#include <doctest/doctest.h>

using quern::base::ThreadPace;
using namespace std::chrono_literals;

namespace {

/// Notes steps of 10 ms until `steps` are over, in which waiting threads sleep as long as `slept`
/// says for the number of threads. \return how many of them had one thread.
template <class Slept>
int steps_with_one_thread(ThreadPace& pace, int steps, Slept slept) {
  int alone = 0;
  for (int i = 0; i < steps; ++i) {
    alone += pace.threads() == 1 ? 1 : 0;
    pace.note(10ms, slept(pace.threads()));
  }
  return alone;
}

}  // namespace

TEST_CASE("threads that hardly sleep are kept") {
  ThreadPace pace(4);
  for (int i = 0; i < 100; ++i) pace.note(10ms, 7ms);
  CHECK(pace.threads() == 4);
}

TEST_CASE("a thread that the others sleep for is given up, and tried ever more seldom") {
  ThreadPace pace(2);
  const auto held_up = [](int threads) { return threads == 2 ? 8ms : 0ms; };
  const int first = steps_with_one_thread(pace, 100, held_up);
  CHECK(first >= 80);
  const int later = steps_with_one_thread(pace, 1000, held_up);
  CHECK(later >= 990);
}

TEST_CASE("a thread comes back when its core is free again") {
  ThreadPace pace(3);
  for (int i = 0; i < 200; ++i) pace.note(10ms, pace.threads() == 3 ? 16ms : 0ms);
  for (int i = 0; i < 2000 && pace.threads() < 3; ++i) pace.note(10ms, 0ms);
  CHECK(pace.threads() == 3);
  for (int i = 0; i < 100; ++i) pace.note(10ms, 0ms);
  CHECK(pace.threads() == 3);
}

TEST_CASE("one thread stays one") {
  ThreadPace pace(1);
  for (int i = 0; i < 10; ++i) pace.note(10ms, 0ms);
  CHECK(pace.threads() == 1);
}
