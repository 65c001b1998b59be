/// \file
/// Threads. A host may hand in its own executor; by default quern uses OpenMP.
#pragma once

#include <memory>

#include "quern/result.h"

namespace quern {

/// Runs one function on several threads at once. A model calls `run` once per step.
/// Thread rule: one `run` at a time per executor; implementations need not be re-entrant.
class Executor {
 public:
  virtual ~Executor() = default;
  /// \return the most threads of a run, ≥ 1, constant over the executor's life.
  virtual int threads() const noexcept = 0;
  /// Calls work(context, i) for i = 0 … n−1, each on a thread of its own and all at the same time
  /// (they meet at barriers), and returns true when all have returned. Where other processes take
  /// the cores away, a model asks for fewer threads than there could be. `work` never throws.
  /// \param n 1 … threads(). \return false where so many threads could not be had; `work` was not
  /// called then.
  virtual bool run(int n, void (*work)(void* context, int thread), void* context) noexcept = 0;
};

/// \return the number of cores that affinity and cgroup quota leave to this process, ≥ 1.
int usable_cores() noexcept;

/// \param threads 0: usable_cores(). \return an OpenMP executor (one plain thread where quern was
/// built without OpenMP); kOutOfRange for negative or absurd numbers (> 1024).
Result<std::unique_ptr<Executor>> make_executor(int threads);

}  // namespace quern
