#include "backends/cpu/program.h"

#include "backends/cpu/kv_cache.h"

namespace quern::backends::cpu {

std::uint64_t CpuProgram::memory_bytes(const Lowered& lowered, int threads) noexcept {
  return static_cast<std::uint64_t>(lowered.buffers.total_bytes + threads * lowered.scratch_bytes);
}

Result<std::unique_ptr<Program>> CpuProgram::create(std::shared_ptr<const graph::Graph> graph,
                                                    const CompileOptions& options, KvType kv,
                                                    const kernels::KernelTable& kernels,
                                                    Lowered lowered) {
  QUERN_TRY(memory, base::PageBuffer::allocate(memory_bytes(lowered, options.executor->threads())));
  return std::unique_ptr<Program>(new CpuProgram(std::move(graph), options, kv, kernels,
                                                 std::move(lowered), std::move(memory)));
}

CpuProgram::CpuProgram(std::shared_ptr<const graph::Graph> graph, const CompileOptions& options,
                       KvType kv, const kernels::KernelTable& kernels, Lowered lowered,
                       base::PageBuffer memory)
    : graph_(std::move(graph)),
      executor_(options.executor),
      kv_(kv),
      kernels_(kernels),
      lowered_(std::move(lowered)),
      memory_(std::move(memory)),
      scratch_(memory_.data() + lowered_.buffers.total_bytes),
      barrier_(options.executor->threads()) {
  buffers_.reserve(lowered_.buffers.offsets.size());
  for (const std::int64_t offset : lowered_.buffers.offsets)
    buffers_.push_back(memory_.data() + offset);
}

void CpuProgram::run_thread(int thread) noexcept {
  const StepContext context{*step_,          kernels_,
                            buffers_.data(), scratch_ + thread * lowered_.scratch_bytes,
                            thread,          executor_->threads()};
  for (const Phase& phase : lowered_.phases) {
    for (std::size_t i = phase.begin; i < phase.end; ++i) lowered_.steps[i]->run(context);
    barrier_.wait();
  }
}

Status CpuProgram::run(const StepBinding& step) {
  step_ = &step;
  const bool done = executor_->run(
      [](void* program, int thread) { static_cast<CpuProgram*>(program)->run_thread(thread); },
      this);
  step_ = nullptr;
  if (!done) {
    return Error(ErrorCode::kLimit, "the threads of the executor could not be had")
        .of("threads")
        .want(std::to_string(executor_->threads()));
  }
  last_outputs_ = step.output_rows.size();
  return {};
}

std::span<const float> CpuProgram::output(std::string_view name) const {
  for (const graph::Output& output : graph_->outputs) {
    if (output.name != name) continue;
    const auto buffer =
        static_cast<std::size_t>(lowered_.value_buffers[static_cast<std::size_t>(output.value)]);
    const auto cols =
        static_cast<std::size_t>(graph_->values[static_cast<std::size_t>(output.value)].cols);
    return {reinterpret_cast<const float*>(buffers_[buffer]), last_outputs_ * cols};
  }
  return {};
}

Result<std::unique_ptr<SequenceState>> CpuProgram::new_sequence(std::int64_t capacity) const {
  return KvCache::create(graph_->states, kv_, capacity);
}

}  // namespace quern::backends::cpu
