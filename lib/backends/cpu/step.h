/// \file
/// The unit of a compiled program: one kernel call per thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "backends/backend.h"
#include "backends/cpu/schedule.h"
#include "kernels/kernel_table.h"

namespace quern::backends::cpu {

/// The part [first, second) of `n` equal items that falls to a thread.
inline std::pair<std::int64_t, std::int64_t> share_of(std::int64_t n, int thread,
                                                      int threads) noexcept {
  return {n * thread / threads, n * (thread + 1) / threads};
}

/// What a step sees while it runs.
struct StepContext {
  const StepBinding& step;
  const kernels::KernelTable& kernels;
  std::byte* const* buffers;  ///< By BufferId, as this thread sees them.
  std::byte* scratch;         ///< This thread's own.
  int thread, threads;
  /// What a step that goes by rows is to do now: rows [begin, end), whole row tiles but for the
  /// last row.
  std::int64_t row_begin = 0, row_end = 0;

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(step.tokens.size()); }
  std::int64_t outputs() const noexcept {
    return static_cast<std::int64_t>(step.output_rows.size());
  }
  std::byte* bytes(BufferId id) const noexcept { return buffers[id]; }
  float* floats(BufferId id) const noexcept { return reinterpret_cast<float*>(buffers[id]); }

  /// This thread's part [first, second) of `n` equal items.
  std::pair<std::int64_t, std::int64_t> share(std::int64_t n) const noexcept {
    return share_of(n, thread, threads);
  }
};

/// Immutable after compiling. Never allocates, locks or logs in `run`.
class Step {
 public:
  virtual ~Step() = default;
  virtual void run(const StepContext& context) const = 0;
  /// The weights that a thread will read, in the order of reading; empty where there are none.
  virtual std::span<const std::byte> weights(int /*thread*/, int /*threads*/) const { return {}; }
};

}  // namespace quern::backends::cpu
