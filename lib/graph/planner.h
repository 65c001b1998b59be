/// \file
/// Gives every buffer of a program its place in one arena.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quern::graph {

/// A buffer that lives from step `first` to step `last` (inclusive) of a program.
struct Lifetime {
  std::int64_t bytes;
  std::int32_t first, last;
};

struct BufferPlan {
  std::vector<std::int64_t> offsets;  ///< One per buffer, multiples of 64.
  std::int64_t total_bytes = 0;
};

/// Places buffers so that those alive at the same time never overlap: the largest first, each at
/// the lowest offset that fits (Pisarchyk and Lee 2020, "Efficient Memory Management for Deep
/// Neural Net Inference", greedy by size). Deterministic; O(n²).
BufferPlan plan_buffers(std::span<const Lifetime> buffers);

}  // namespace quern::graph
