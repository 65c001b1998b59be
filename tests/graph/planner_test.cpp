#include "graph/planner.h"

#include <doctest/doctest.h>

#include <random>

using quern::graph::BufferPlan;
using quern::graph::Lifetime;
using quern::graph::plan_buffers;

namespace {

bool alive_together(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

void check_plan(const std::vector<Lifetime>& buffers) {
  const BufferPlan plan = plan_buffers(buffers);
  REQUIRE(plan.offsets.size() == buffers.size());
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    CHECK(plan.offsets[i] % 64 == 0);
    CHECK(plan.offsets[i] + buffers[i].bytes <= plan.total_bytes);
    for (std::size_t j = 0; j < i; ++j) {
      if (!alive_together(buffers[i], buffers[j])) continue;
      const bool apart = plan.offsets[i] + buffers[i].bytes <= plan.offsets[j] ||
                         plan.offsets[j] + buffers[j].bytes <= plan.offsets[i];
      CHECK(apart);
    }
  }
}

}  // namespace

TEST_CASE("buffers that live at the same time never overlap") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Lifetime> buffers(random() % 40);
    for (Lifetime& buffer : buffers) {
      buffer.bytes = static_cast<std::int64_t>(random() % 5000);
      buffer.first = static_cast<std::int32_t>(random() % 30);
      buffer.last = buffer.first + static_cast<std::int32_t>(random() % 8);
    }
    check_plan(buffers);
  }
}

TEST_CASE("buffers that never meet share their place") {
  const std::vector<Lifetime> chain = {{1000, 0, 1}, {1000, 2, 3}, {1000, 4, 5}};
  CHECK(plan_buffers(chain).total_bytes == 1024);
}

TEST_CASE("a gap between two living buffers is used") {
  const std::vector<Lifetime> buffers = {{640, 0, 9}, {320, 0, 1}, {320, 2, 9}, {256, 0, 9}};
  check_plan(buffers);
  CHECK(plan_buffers(buffers).total_bytes == 640 + 320 + 256);
}

TEST_CASE("no buffers need no memory") { CHECK(plan_buffers({}).total_bytes == 0); }
