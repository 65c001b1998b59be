#include "base/barrier.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

TEST_CASE("no thread passes a barrier before all have come, and none sleeps through its release") {
  // More threads than cores, so that many waits outlast the spinning and sleep.
  for (const int threads : {1, 2, 3, 8}) {
    constexpr int kRounds = 2000;
    quern::base::Barrier barrier(threads);
    std::atomic<std::int64_t> arrivals{0};
    std::atomic<int> early{0};
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t) {
      pool.emplace_back([&] {
        for (std::int64_t round = 0; round < kRounds; ++round) {
          ++arrivals;
          barrier.wait();
          if (arrivals.load() < (round + 1) * threads) ++early;
          barrier.wait();
        }
      });
    }
    for (std::thread& thread : pool) thread.join();
    CHECK(early == 0);
    CHECK(arrivals == std::int64_t{kRounds} * threads);
  }
}
