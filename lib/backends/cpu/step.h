/// \file
/// The unit of a compiled program: one kernel call per thread.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "backends/backend.h"
#include "backends/cpu/schedule.h"
#include "kernels/kernel_table.h"

namespace quern::backends::cpu {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) noexcept { return (a + b - 1) / b; }

/// The part [first, second) of `n` equal items that falls to a thread.
inline std::pair<std::int64_t, std::int64_t> share_of(std::int64_t n, int thread,
                                                      int threads) noexcept {
  return {n * thread / threads, n * (thread + 1) / threads};
}

/// The rows of a value, as steps go by them.
struct RowKind {
  Split split;
  std::int64_t constant = 0;

  explicit RowKind(const graph::Value& value)
      : split(split_of(value.rows)), constant(value.count) {}
  static Split split_of(graph::Rows rows) noexcept {
    switch (rows) {
      case graph::Rows::kOutput:
        return Split::kOutputs;
      case graph::Rows::kSequence:
        return Split::kSequences;
      case graph::Rows::kConstant:
        return Split::kConstants;
      case graph::Rows::kStep:
        break;
    }
    return Split::kRows;
  }
};

/// What a step sees while it runs.
struct StepContext {
  const StepBinding& step;
  const kernels::KernelTable& kernels;
  std::byte* const* buffers;  ///< By BufferId, as this thread sees them.
  std::byte* scratch;         ///< This thread's own.
  int thread, threads;
  bool first;  ///< The program's first step: constants are computed.
  /// What a step that goes by rows is to do now: rows [begin, end), whole row tiles but for the
  /// last row.
  std::int64_t row_begin = 0, row_end = 0;
  /// The first item of the step that no thread has taken; nullptr: each has its fixed share.
  std::atomic<std::int64_t>* next_item = nullptr;

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(step.tokens.size()); }
  std::int64_t outputs() const noexcept {
    return static_cast<std::int64_t>(step.output_rows.size());
  }
  /// Rows that a step of a split goes by. \param constant those of a constant.
  std::int64_t count(Split split, std::int64_t constant) const noexcept {
    switch (split) {
      case Split::kRows:
        return rows();
      case Split::kOutputs:
        return outputs();
      case Split::kSequences:
        return static_cast<std::int64_t>(step.starts.size());
      case Split::kConstants:
        return first ? constant : 0;
      case Split::kOther:
        break;
    }
    return 0;
  }
  std::byte* bytes(BufferId id) const noexcept { return buffers[id]; }
  float* floats(BufferId id) const noexcept { return reinterpret_cast<float*>(buffers[id]); }

  std::int64_t count(const RowKind& kind) const noexcept {
    return count(kind.split, kind.constant);
  }
  /// This thread's part [first, second) of `n` equal items.
  std::pair<std::int64_t, std::int64_t> share(std::int64_t n) const noexcept {
    return share_of(n, thread, threads);
  }
  /// Calls visit(begin, end) for runs of `n` items of which no two depend on each other, `at_once`
  /// long. Threads take them as they come to them, so that one which the system holds up, or whose
  /// core is a slow one, does less. Not for steps that go by rows: later ones count on the shares.
  template <class Visit>
  void hand_out(std::int64_t n, std::int64_t at_once, Visit visit) const {
    if (next_item == nullptr) {
      const auto [begin, end] = share(n);
      if (begin < end) visit(begin, end);
      return;
    }
    for (;;) {
      const std::int64_t begin = next_item->fetch_add(at_once, std::memory_order_relaxed);
      if (begin >= n) return;
      visit(begin, std::min(begin + at_once, n));
    }
  }
};

/// Immutable after compiling. Never allocates, locks or logs in `run`.
class Step {
 public:
  virtual ~Step() = default;
  virtual void run(const StepContext& context) const = 0;
  /// The weights that a thread will read, in the order of reading; empty where there are none.
  virtual std::array<std::span<const std::byte>, 2> weights(int /*thread*/, int /*threads*/) const {
    return {};
  }
};

}  // namespace quern::backends::cpu
