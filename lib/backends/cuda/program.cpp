#include "backends/cuda/program.h"

#include <algorithm>
#include <bit>
#include <string>

#include "backends/cuda/best.h"
#include "backends/cuda/sequence_cache.h"
#include "base/log.h"

namespace quern::backends::cuda {
namespace {

/// Recordings of a program; when there are more, all begin anew.
constexpr std::size_t kMaxRecordings = 64;
constexpr std::uint64_t kTableAlignment = 64;

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + kTableAlignment - 1) / kTableAlignment * kTableAlignment;
}

std::uint64_t table_bytes(const Lowered& lowered) noexcept {
  std::uint64_t bytes = 0;
  for (const TableData& table : lowered.tables) bytes += aligned(table.size());
  return bytes;
}

void tell_launches(std::int64_t rows, std::int64_t launches) {
  base::log("dispatch", "cuda: a step of " + std::to_string(rows) + " rows is a recording of " +
                            std::to_string(launches) + " launches");
}

/// Steps that differ only in how far they see are issued alike up to the next power of two.
std::int64_t rounded_end(std::int64_t end) {
  constexpr std::uint64_t kLeast = 256;
  return static_cast<std::int64_t>(
      std::bit_ceil(std::max(kLeast, static_cast<std::uint64_t>(end))));
}

}  // namespace

std::uint64_t CudaProgram::memory_bytes(const Lowered& lowered,
                                        const CompileOptions& options) noexcept {
  return lowered.arena_bytes + table_bytes(lowered) + StepArraysBuffer::bytes(options.max_rows);
}

std::uint64_t CudaProgram::scratch_bytes() const noexcept {
  return arena_.size() + table_memory_.size() + arrays_.size();
}

Result<std::unique_ptr<Program>> CudaProgram::create(std::shared_ptr<Device> device,
                                                     std::shared_ptr<const graph::Graph> graph,
                                                     const CompileOptions& options, KvType kv,
                                                     Lowered lowered) {
  std::unique_ptr<CudaProgram> program(new CudaProgram());
  program->kv_ = kv;
  program->lowered_ = std::move(lowered);
  for (const std::string& name : program->lowered_.kernels) {
    QUERN_TRY(kernel, device->kernel(name));
    program->kernels_.push_back(kernel);
  }
  QUERN_TRY(weights, upload_weights(*device, *graph, program->lowered_.uses_weight));
  program->weights_ = std::move(weights);
  for (const DeviceWeight& weight : program->weights_)
    program->weight_addresses_.push_back(weight == nullptr ? 0 : weight->address());
  QUERN_TRY(arena, device->allocate(program->lowered_.arena_bytes));
  program->arena_ = std::move(arena);
  for (const std::int64_t offset : program->lowered_.offsets)
    program->buffers_.push_back(program->arena_.address() + static_cast<std::uint64_t>(offset));
  QUERN_TRY(arrays, StepArraysBuffer::create(*device, options.max_rows));
  program->arrays_ = std::move(arrays);
  QUERN_TRY(stream, device->make_stream());
  program->stream_ = std::move(stream);
  program->device_ = std::move(device);
  program->graph_ = std::move(graph);
  QUERN_CHECK(program->place_tables());
  QUERN_CHECK(program->make_outputs(options));
  QUERN_CHECK(program->make_recorder(options));
  return std::unique_ptr<Program>(std::move(program));
}

Status CudaProgram::place_tables() {
  QUERN_TRY(memory, device_->allocate(table_bytes(lowered_)));
  table_memory_ = std::move(memory);
  std::uint64_t at = table_memory_.address();
  for (const TableData& table : lowered_.tables) {
    table_addresses_.push_back(at);
    if (!table.empty()) QUERN_CHECK(stream_.upload(at, table.data(), table.size()));
    at += aligned(table.size());
  }
  QUERN_CHECK(stream_.synchronize());
  lowered_.tables.clear();
  return {};
}

Status CudaProgram::make_outputs(const CompileOptions& options) {
  for (const graph::Output& output : graph_->outputs) {
    const graph::Value& value = graph_->values[static_cast<std::size_t>(output.value)];
    const bool outputs_only = value.rows == graph::Rows::kOutput;
    const std::int64_t rows = outputs_only ? options.max_outputs : options.max_rows;
    QUERN_TRY(buffer, device_->allocate_pinned(static_cast<std::uint64_t>(rows * value.cols) *
                                               sizeof(float)));
    outputs_.push_back(std::move(buffer));
  }
  output_sizes_.assign(outputs_.size(), 0);
  if (lowered_.best.keys < 0) return {};
  constexpr std::size_t kMost = kBestRows * kMostBest;
  QUERN_TRY(keys, device_->allocate_pinned(kMost * sizeof(std::uint64_t)));
  best_keys_ = std::move(keys);
  best_.resize(kMost);
  return {};
}

Status CudaProgram::make_recorder(const CompileOptions& options) {
  if (options.trace_events == 0) return {};
  std::vector<StepLabel> labels;
  for (const Step& step : lowered_.steps) labels.push_back({step.kind, step.name, step.layer});
  QUERN_TRY(made, StepRecorder::create(std::move(labels), 1, options.trace_events));
  recorder_ = std::move(made);
  return {};
}

LaunchContext CudaProgram::context_for(const StepBinding& step) {
  return {.stream = stream_,
          .kernels = kernels_,
          .buffers = buffers_,
          .weights = weight_addresses_,
          .tables = table_addresses_,
          .arrays = arrays_.arrays(static_cast<std::int64_t>(step.tokens.size())),
          .rows = static_cast<std::int64_t>(step.tokens.size()),
          .outputs = static_cast<std::int64_t>(step.output_rows.size()),
          .sequences = 0,
          .max_end = 0,
          .best = 0};
}

Status CudaProgram::issue(const LaunchContext& context) {
  QUERN_CHECK(arrays_.send(stream_, context.rows));
  for (std::size_t i = 0; i < lowered_.steps.size(); ++i) {
    const Step& step = lowered_.steps[i];
    if (step.once && !first_) continue;
    QUERN_CHECK(step.issue(context));
    if (recorder_ == nullptr) continue;
    QUERN_CHECK(stream_.synchronize());
    recorder_->mark(0, StepRecorder::kFirst + static_cast<std::uint32_t>(i));
  }
  return fetch(context);
}

Status CudaProgram::replay(const LaunchContext& context) {
  const Shape shape{context.rows, context.outputs, context.sequences, context.max_end,
                    context.best};
  auto known = recordings_.find(shape);
  if (known == recordings_.end()) {
    if (recordings_.size() >= kMaxRecordings) recordings_.clear();
    QUERN_CHECK(stream_.begin_capture());
    const std::int64_t before = stream_.launches();
    Status issued = issue(context);
    tell_launches(context.rows, stream_.launches() - before);
    auto recorded = stream_.end_capture();  // Also after a failure: the stream must leave the mode.
    QUERN_CHECK(std::move(issued));
    if (!recorded.ok()) return std::move(recorded).error();
    known = recordings_.emplace(shape, std::move(*recorded)).first;
  }
  return stream_.run(known->second);
}

Status CudaProgram::run(const StepBinding& step) {
  const StepArraysBuffer::Extent extent = arrays_.write(step);
  for (std::size_t i = 0; i < lowered_.inputs.size(); ++i) {
    if (lowered_.inputs[i] < 0) continue;
    QUERN_CHECK(stream_.upload(buffers_[static_cast<std::size_t>(lowered_.inputs[i])],
                               step.inputs[i].data(), step.inputs[i].size_bytes()));
  }
  LaunchContext context = context_for(step);
  const bool few = context.rows <= kFewRows;
  context.max_end = few ? rounded_end(extent.end) : extent.end;
  context.sequences = extent.sequences;
  if (step.best <= kMostBest && context.outputs <= kBestRows)
    context.best = std::min(step.best, lowered_.best.most);
  if (recorder_) recorder_->begin(context.rows, 1);
  const bool replays = few && !first_ && recorder_ == nullptr;
  Status issued = replays ? replay(context) : issue(context);
  // Also after a failure: what was issued before it reads the arrays that the next step writes.
  Status done = stream_.synchronize();
  QUERN_CHECK(std::move(issued));
  QUERN_CHECK(std::move(done));
  note_outputs(context);
  if (recorder_) recorder_->end();
  first_ = false;
  return {};
}

std::size_t CudaProgram::floats_of(const LaunchContext& context, std::size_t output) const {
  const auto id = static_cast<std::size_t>(graph_->outputs[output].value);
  const graph::Value& value = graph_->values[id];
  const bool stays = context.best > 0 && graph_->outputs[output].name == kRankedOutput;
  return stays ? 0 : static_cast<std::size_t>(context.count(value) * value.cols);
}

Status CudaProgram::fetch(const LaunchContext& context) {
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const auto id = static_cast<std::size_t>(graph_->outputs[i].value);
    QUERN_CHECK(stream_.download(outputs_[i].data(), context.at(lowered_.value_buffers[id]),
                                 floats_of(context, i) * sizeof(float)));
  }
  if (context.best == 0) return {};
  const auto n_keys = static_cast<std::uint64_t>(context.outputs * context.best);
  return stream_.download(best_keys_.data(), context.at(lowered_.best.keys),
                          n_keys * sizeof(std::uint64_t));
}

void CudaProgram::note_outputs(const LaunchContext& context) {
  for (std::size_t i = 0; i < outputs_.size(); ++i) output_sizes_[i] = floats_of(context, i);
  best_of_row_ = static_cast<std::size_t>(context.best);
  const auto* keys = reinterpret_cast<const std::uint64_t*>(best_keys_.data());
  std::transform(keys, keys + context.outputs * context.best, best_.begin(), ranked_logit);
}

std::span<const base::RankedLogit> CudaProgram::best(std::int64_t row) const {
  return std::span(best_).subspan(static_cast<std::size_t>(row) * best_of_row_, best_of_row_);
}

std::span<const float> CudaProgram::output(std::string_view name) const {
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if (graph_->outputs[i].name == name)
      return {reinterpret_cast<const float*>(outputs_[i].data()), output_sizes_[i]};
  }
  return {};
}

Result<std::unique_ptr<SequenceState>> CudaProgram::new_sequence(const SequenceSize& size) const {
  return SequenceCache::create(device_, *graph_, kv_, size);
}

}  // namespace quern::backends::cuda
