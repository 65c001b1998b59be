#include "graph/planner.h"

#include <algorithm>
#include <numeric>

namespace quern::graph {
namespace {

constexpr std::int64_t kAlignment = 64;

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

bool overlap(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

BufferPlan plan_buffers(std::span<const Lifetime> buffers) {
  BufferPlan plan;
  plan.offsets.assign(buffers.size(), 0);
  std::vector<std::size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(), [&](std::size_t a, std::size_t b) {
    return buffers[a].bytes > buffers[b].bytes;
  });

  std::vector<std::size_t> placed;  // In order of offset.
  for (const std::size_t i : by_size) {
    std::int64_t offset = 0;
    for (const std::size_t other : placed) {
      if (!overlap(buffers[i], buffers[other])) continue;
      if (plan.offsets[other] - offset >= aligned(buffers[i].bytes)) break;  // Fits in the gap.
      offset = std::max(offset, plan.offsets[other] + aligned(buffers[other].bytes));
    }
    plan.offsets[i] = offset;
    plan.total_bytes = std::max(plan.total_bytes, offset + aligned(buffers[i].bytes));
    const auto place =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [&](std::int64_t o, std::size_t p) { return o < plan.offsets[p]; });
    placed.insert(place, i);
  }
  return plan;
}

}  // namespace quern::graph
