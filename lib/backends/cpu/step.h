/// \file
/// The unit of a compiled program: one kernel call per thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "kernels/kernel_table.h"

namespace quern::backends::cpu {

/// How a step's work is divided among threads. Consecutive kRows steps give each thread the same
/// rows, so no barrier is needed between them.
enum class Split : std::uint8_t {
  kRows,   ///< Whole tiles of step rows, the same for every such step.
  kOther,  ///< Panels, heads, output rows, …
};

/// Index of a buffer of the program's arena.
using BufferId = std::int32_t;

/// What a step sees while it runs.
struct StepContext {
  const StepBinding& step;
  const kernels::KernelTable& kernels;
  std::byte* const* buffers;  ///< By BufferId.
  std::byte* scratch;         ///< This thread's own.
  int thread, threads;

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(step.tokens.size()); }
  std::int64_t outputs() const noexcept {
    return static_cast<std::int64_t>(step.output_rows.size());
  }
  std::byte* bytes(BufferId id) const noexcept { return buffers[id]; }
  float* floats(BufferId id) const noexcept { return reinterpret_cast<float*>(buffers[id]); }

  /// This thread's part [first, second) of `n` equal items.
  std::pair<std::int64_t, std::int64_t> share(std::int64_t n) const noexcept {
    return {n * thread / threads, n * (thread + 1) / threads};
  }
  /// This thread's step rows: whole row tiles.
  std::pair<std::int64_t, std::int64_t> row_share() const noexcept {
    const std::int64_t tiles = (rows() + kernels::kRowTile - 1) / kernels::kRowTile;
    const auto [begin, end] = share(tiles);
    return {begin * kernels::kRowTile,
            end * kernels::kRowTile < rows() ? end * kernels::kRowTile : rows()};
  }
};

/// Immutable after compiling. Never allocates, locks or logs in `run`.
class Step {
 public:
  virtual ~Step() = default;
  virtual void run(const StepContext& context) const = 0;
};

/// What the compiler must know of a step to order it.
struct StepInfo {
  Split split;
  std::vector<BufferId> reads, writes;
  std::int64_t scratch_bytes = 0;  ///< Of each thread.
};

}  // namespace quern::backends::cpu
