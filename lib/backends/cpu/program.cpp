#include "backends/cpu/program.h"

#include <algorithm>

#include "backends/cpu/kv_cache.h"

namespace quern::backends::cpu {
namespace {

/// Only one schedule runs at a time, and nothing but the outputs outlives a step.
std::int64_t arena_bytes(const Lowered& lowered, int threads) {
  return std::max(lowered.many.bytes(threads), lowered.few.bytes(threads));
}

/// Appends where the buffers of `thread` lie.
void append_buffers(const Schedule& schedule, std::byte* arena, int thread,
                    std::vector<std::byte*>& buffers) {
  std::byte* own = arena + schedule.shared_bytes + thread * schedule.own_bytes;
  for (const Place& place : schedule.places)
    buffers.push_back((place.own ? own : arena) + place.offset);
}

}  // namespace

std::uint64_t CpuProgram::memory_bytes(const Lowered& lowered, int threads) noexcept {
  return static_cast<std::uint64_t>(arena_bytes(lowered, threads) +
                                    threads * lowered.scratch_bytes);
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
      scratch_(memory_.data() + arena_bytes(lowered_, options.executor->threads())),
      barrier_(options.executor->threads()) {
  append_buffers(lowered_.many, memory_.data(), 0, many_buffers_);
  for (int thread = 0; thread < executor_->threads(); ++thread)
    append_buffers(lowered_.few, memory_.data(), thread, few_buffers_);
}

std::byte* const* CpuProgram::buffers(int thread) const noexcept {
  if (!few_) return many_buffers_.data();
  return few_buffers_.data() + static_cast<std::size_t>(thread) * lowered_.few.places.size();
}

void CpuProgram::run_rows(const Run& run, StepContext& context) noexcept {
  const std::vector<std::int32_t>& steps = schedule().steps;
  const std::int64_t rows = run.split == Split::kRows ? context.rows() : context.outputs();
  const std::int64_t tiles = (rows + kernels::kRowTile - 1) / kernels::kRowTile;
  const auto [first, last] =
      run.replicated ? std::pair(std::int64_t{0}, tiles) : context.share(tiles);
  for (std::int64_t tile = first; tile < last; ++tile) {
    context.row_begin = tile * kernels::kRowTile;
    context.row_end = std::min(context.row_begin + kernels::kRowTile, rows);
    for (std::size_t i = run.begin; i < run.end; ++i)
      lowered_.steps[static_cast<std::size_t>(steps[i])]->run(context);
  }
}

void CpuProgram::run_thread(int thread) noexcept {
  StepContext context{*step_,          kernels_,
                      buffers(thread), scratch_ + thread * lowered_.scratch_bytes,
                      thread,          executor_->threads()};
  const Schedule& plan = schedule();
  for (const Run& run : plan.runs) {
    if (run.barrier_before) barrier_.wait();
    if (run.split != Split::kOther) {
      run_rows(run, context);
      continue;
    }
    for (std::size_t i = run.begin; i < run.end; ++i)
      lowered_.steps[static_cast<std::size_t>(plan.steps[i])]->run(context);
  }
}

Status CpuProgram::run(const StepBinding& step) {
  step_ = &step;
  few_ = static_cast<std::int64_t>(step.tokens.size()) <= kFewRows;
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
    return {reinterpret_cast<const float*>(buffers(0)[buffer]), last_outputs_ * cols};
  }
  return {};
}

Result<std::unique_ptr<SequenceState>> CpuProgram::new_sequence(std::int64_t capacity) const {
  return KvCache::create(graph_->states, kv_, capacity);
}

}  // namespace quern::backends::cpu
