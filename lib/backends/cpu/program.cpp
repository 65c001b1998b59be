#include "backends/cpu/program.h"

#include <algorithm>
#include <chrono>

#include "backends/cpu/kv_cache.h"

namespace quern::backends::cpu {
namespace {

/// Only one schedule runs at a time, and nothing but constants and outputs outlives a step.
std::int64_t arena_bytes(const Lowered& lowered, int threads) {
  return lowered.many.constant_bytes +
         std::max(lowered.many.bytes(threads), lowered.few.bytes(threads));
}

/// Appends where the buffers of `thread` lie.
void append_buffers(const Schedule& schedule, std::byte* arena, int thread,
                    std::vector<std::byte*>& buffers) {
  std::byte* shared = arena + schedule.constant_bytes;
  std::byte* own = shared + schedule.shared_bytes + thread * schedule.own_bytes;
  for (const Place& place : schedule.places) {
    std::byte* part = place.part == Part::kOwn ? own : shared;
    buffers.push_back((place.part == Part::kConstants ? arena : part) + place.offset);
  }
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
  std::unique_ptr<StepRecorder> recorder;
  if (options.trace_events != 0) {
    QUERN_TRY(made, StepRecorder::create(lowered.labels, options.executor->threads(),
                                         options.trace_events));
    recorder = std::move(made);
  }
  return std::unique_ptr<Program>(new CpuProgram(std::move(graph), options, kv, kernels,
                                                 std::move(lowered), std::move(memory),
                                                 std::move(recorder)));
}

CpuProgram::CpuProgram(std::shared_ptr<const graph::Graph> graph, const CompileOptions& options,
                       KvType kv, const kernels::KernelTable& kernels, Lowered lowered,
                       base::PageBuffer memory, std::unique_ptr<StepRecorder> recorder)
    : graph_(std::move(graph)),
      executor_(options.executor),
      kv_(kv),
      kernels_(kernels),
      lowered_(std::move(lowered)),
      memory_(std::move(memory)),
      recorder_(std::move(recorder)),
      scratch_(memory_.data() + arena_bytes(lowered_, options.executor->threads())),
      next_items_(lowered_.steps.size()),
      barrier_(options.executor->threads()),
      pace_(options.executor->threads()) {
  for (int thread = 0; thread < executor_->threads(); ++thread) {
    append_buffers(lowered_.many, memory_.data(), thread, many_buffers_);
    append_buffers(lowered_.few, memory_.data(), thread, few_buffers_);
    weights_.push_back(weight_parts(lowered_.steps, lowered_.few, thread, executor_->threads()));
  }
}

std::span<std::byte*> CpuProgram::buffers(int thread) noexcept {
  const std::size_t n = lowered_.many.places.size();
  return std::span(few_ ? few_buffers_ : many_buffers_)
      .subspan(static_cast<std::size_t>(thread) * n, n);
}

void CpuProgram::run_step(std::int32_t step, const StepContext& context) noexcept {
  lowered_.steps[static_cast<std::size_t>(step)]->run(context);
  if (recorder_)
    recorder_->mark(context.thread, StepRecorder::kFirst + static_cast<std::uint32_t>(step));
}

void CpuProgram::run_rows(const Run& run, std::span<std::byte*> buffers,
                          StepContext& context) noexcept {
  const std::vector<std::int32_t>& steps = schedule().steps;
  const std::int64_t rows = context.count(run.split, run.constant_rows);
  const std::int64_t tiles = (rows + kernels::kRowTile - 1) / kernels::kRowTile;
  const auto [first, last] =
      run.replicated ? std::pair(std::int64_t{0}, tiles) : context.share(tiles);
  // Steps address rows of the whole step, so a buffer of one tile is moved along with the tile.
  const auto move_tiles = [&](std::int64_t rows_back) {
    for (const TileBuffer& buffer : run.tile_buffers)
      buffers[static_cast<std::size_t>(buffer.id)] -= rows_back * buffer.row_bytes;
  };
  for (std::int64_t tile = first; tile < last; ++tile) {
    context.row_begin = tile * kernels::kRowTile;
    context.row_end = std::min(context.row_begin + kernels::kRowTile, rows);
    move_tiles(context.row_begin);
    for (std::size_t i = run.begin; i < run.end; ++i) run_step(steps[i], context);
    move_tiles(-context.row_begin);
  }
}

void CpuProgram::run_thread(int thread) noexcept {
  const std::span<std::byte*> mine = buffers(thread);
  StepContext context{
      *step_, kernels_,        mine.data(), scratch_ + thread * lowered_.scratch_bytes,
      thread, pace_.threads(), first_};
  if (recorder_) recorder_->mark(thread, StepRecorder::kStart);
  const Schedule& plan = schedule();
  const bool knows_weights = few_ && context.threads == executor_->threads();
  WeightPrefetcher prefetcher(knows_weights ? weights_[static_cast<std::size_t>(thread)]
                                            : std::span<const WeightPart>());
  for (std::size_t r = 0; r < plan.runs.size(); ++r) {
    const Run& run = plan.runs[r];
    if (run.barrier_before) {
      prefetcher.skip_to(r);
      barrier_.wait([&] { prefetcher.fetch_some(); });
      if (recorder_) recorder_->mark(thread, StepRecorder::kWait);
    }
    if (run.split != Split::kOther) {
      run_rows(run, mine, context);
      continue;
    }
    for (std::size_t i = run.begin; i < run.end; ++i) {
      context.next_item = few_ ? nullptr : &next_items_[static_cast<std::size_t>(plan.steps[i])];
      run_step(plan.steps[i], context);
    }
    context.next_item = nullptr;
  }
}

Status CpuProgram::run(const StepBinding& step) {
  step_ = &step;
  few_ = static_cast<std::int64_t>(step.tokens.size()) <= kFewRows;
  for (auto& next : next_items_) next.store(0, std::memory_order_relaxed);
  barrier_.start(pace_.threads());
  if (recorder_) recorder_->begin(static_cast<std::int64_t>(step.tokens.size()), pace_.threads());
  const auto start = std::chrono::steady_clock::now();
  const bool done = executor_->run(
      pace_.threads(),
      [](void* program, int thread) { static_cast<CpuProgram*>(program)->run_thread(thread); },
      this);
  if (recorder_) recorder_->end();
  step_ = nullptr;
  if (!done) {
    return Error(ErrorCode::kLimit, "the threads of the executor could not be had")
        .of("threads")
        .want(std::to_string(pace_.threads()));
  }
  pace_.note(std::chrono::steady_clock::now() - start, barrier_.slept());
  first_ = false;
  last_rows_ = step.tokens.size();
  last_outputs_ = step.output_rows.size();
  last_sequences_ = step.starts.size();
  return {};
}

std::span<const float> CpuProgram::output(std::string_view name) const {
  for (const graph::Output& output : graph_->outputs) {
    if (output.name != name) continue;
    const auto buffer =
        static_cast<std::size_t>(lowered_.value_buffers[static_cast<std::size_t>(output.value)]);
    const graph::Value& value = graph_->values[static_cast<std::size_t>(output.value)];
    std::size_t rows = last_outputs_;
    if (value.rows == graph::Rows::kStep) rows = last_rows_;
    if (value.rows == graph::Rows::kSequence) rows = last_sequences_;
    if (value.rows == graph::Rows::kConstant) rows = static_cast<std::size_t>(value.count);
    // Outputs are one for all threads.
    std::byte* const* first = (few_ ? few_buffers_ : many_buffers_).data();
    return {reinterpret_cast<const float*>(first[buffer]),
            rows * static_cast<std::size_t>(value.cols)};
  }
  return {};
}

Result<std::unique_ptr<SequenceState>> CpuProgram::new_sequence(const SequenceSize& size) const {
  return KvCache::create(*graph_, kv_, size);
}

}  // namespace quern::backends::cpu
