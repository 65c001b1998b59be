/// \file
/// A compiled graph with its memory.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backends/cpu/lowering.h"
#include "backends/cpu/weight_prefetcher.h"
#include "base/barrier.h"
#include "base/page_buffer.h"
#include "base/thread_pace.h"

namespace quern::backends::cpu {

/// Runs the steps of a lowered graph, all threads in one parallel region.
class CpuProgram final : public Program {
 public:
  static Result<std::unique_ptr<Program>> create(std::shared_ptr<const graph::Graph> graph,
                                                 const CompileOptions& options, KvType kv,
                                                 const kernels::KernelTable& kernels,
                                                 Lowered lowered);

  Status run(const StepBinding& step) override;
  std::span<const float> output(std::string_view name) const override;
  std::uint64_t scratch_bytes() const noexcept override { return memory_.size(); }
  KvType kv() const noexcept override { return kv_; }
  StepTrace trace() const override { return recorder_ ? recorder_->trace() : StepTrace(); }
  Result<std::unique_ptr<SequenceState>> new_sequence(const SequenceSize& size) const override;

  /// Bytes that `create` will take.
  static std::uint64_t memory_bytes(const Lowered& lowered, int threads) noexcept;

 private:
  CpuProgram(std::shared_ptr<const graph::Graph> graph, const CompileOptions& options, KvType kv,
             const kernels::KernelTable& kernels, Lowered lowered, base::PageBuffer memory,
             std::unique_ptr<StepRecorder> recorder);
  void run_thread(int thread) noexcept;
  /// Runs one step on the thread of `context`.
  void run_step(std::int32_t step, const StepContext& context) noexcept;
  /// Runs steps that go by rows, tile by tile.
  void run_rows(const Run& run, std::span<std::byte*> buffers, StepContext& context) noexcept;
  /// The schedule for the present step.
  const Schedule& schedule() const noexcept { return few_ ? lowered_.few : lowered_.many; }
  /// Where a thread's buffers lie, by BufferId, under the present schedule.
  std::span<std::byte*> buffers(int thread) noexcept;

  std::shared_ptr<const graph::Graph> graph_;
  std::shared_ptr<Executor> executor_;
  const KvType kv_;
  const kernels::KernelTable& kernels_;
  const Lowered lowered_;
  base::PageBuffer memory_;
  const std::unique_ptr<StepRecorder> recorder_;        ///< nullptr: no trace.
  std::vector<std::byte*> many_buffers_, few_buffers_;  ///< `[threads][BufferId]`
  std::vector<std::vector<WeightPart>> weights_;  ///< By thread: what the schedule for few reads.
  std::byte* scratch_;
  /// StepContext::next_item of every step, for the schedule for many rows.
  std::vector<std::atomic<std::int64_t>> next_items_;
  base::Barrier barrier_;
  base::ThreadPace pace_;
  const StepBinding* step_ = nullptr;
  bool few_ = false;   ///< Which schedule the last step ran by.
  bool first_ = true;  ///< No step has run yet.
  std::size_t last_rows_ = 0, last_outputs_ = 0, last_sequences_ = 0;
};

}  // namespace quern::backends::cpu
