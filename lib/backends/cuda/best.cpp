#include "backends/cuda/best.h"

#include <algorithm>
#include <array>
#include <bit>

#include "backends/cuda/kernels/best_args.h"

namespace quern::backends::cuda {
namespace {

constexpr std::int64_t kKeyBytes = sizeof(std::uint64_t);

/// Keys that runs of `n` give; 0 where one run is all there is.
std::int64_t level_size(std::int64_t n) {
  const std::int64_t runs = ceil_div(n, kBestRun);
  return runs > 1 ? runs * kMostBest : 0;
}

struct BestCall {
  KernelId kernel;
  BufferId values, keys;
  std::int64_t cols;
  std::array<BufferId, 2> levels = {};  ///< Between values and keys, in turn.

  Status issue(const LaunchContext& context) const {
    if (context.best == 0) return {};
    BestArgs args{};
    args.values = context.floats(values);
    args.n = cols;
    args.k = static_cast<std::int32_t>(context.best);
    args.width = static_cast<std::int32_t>(std::bit_ceil(static_cast<std::uint64_t>(context.best)));
    for (std::size_t level = 0;; ++level) {
      const std::int64_t runs = ceil_div(args.n, kBestRun);
      const BufferId to = runs == 1 ? keys : levels[level % 2];
      args.best = reinterpret_cast<std::uint64_t*>(context.at(to));
      QUERN_CHECK(context.launch(
          kernel,
          {static_cast<std::uint32_t>(runs), static_cast<std::uint32_t>(context.outputs), 1},
          {kBestThreads, 1, 1}, args));
      if (runs == 1) return {};
      args.values = nullptr;
      args.keys = args.best;
      args.n = runs * args.k;
    }
  }
};

}  // namespace

BestKeys add_best(Lowering& lowering, graph::ValueId logits) {
  const graph::Value& value = lowering.value(logits);
  const std::int64_t rows = std::min(lowering.max_rows(value), kBestRows);
  const BufferId keys = lowering.new_buffer(rows * kMostBest * kKeyBytes);
  BestCall call{lowering.kernel("quern_best"), lowering.buffer(logits), keys, value.cols};
  std::int64_t n = value.cols;
  for (BufferId& level : call.levels) {
    n = level_size(n);
    level = lowering.new_buffer(rows * n * kKeyBytes);
  }
  lowering.add("best", {call.values}, {keys, call.levels[0], call.levels[1]},
               [call](const LaunchContext& context) { return call.issue(context); });
  return {keys, std::min(value.cols, kMostBest)};
}

base::RankedLogit ranked_logit(std::uint64_t key) noexcept {
  const auto ordered = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t bits = (ordered >> 31) != 0 ? ordered & 0x7fffffffU : ~ordered;
  return {std::bit_cast<float>(bits), static_cast<std::int32_t>(~static_cast<std::uint32_t>(key))};
}

}  // namespace quern::backends::cuda
