#include "backends/cpu/lowering.h"

#include <algorithm>

#include "backends/cpu/ops.h"
#include "kernels/kernel_table.h"

namespace quern::backends::cpu {
namespace {

constexpr std::int32_t kForever = std::int32_t{1} << 30;

/// Packs the rows of one value for linear layers.
class PackStep final : public Step {
 public:
  PackStep(BufferId x, BufferId out, RowFormat format, std::int64_t cols, graph::Rows rows)
      : x_(x), out_(out), format_(format), cols_(cols), rows_(rows) {}

  void run(const StepContext& context) const override {
    const std::int64_t n = rows_ == graph::Rows::kStep ? context.rows() : context.outputs();
    const auto [begin, end] = context.share((n + kernels::kRowTile - 1) / kernels::kRowTile);
    if (begin == end) return;
    context.kernels.pack_rows[static_cast<std::size_t>(format_)](
        {context.floats(x_), cols_, n, cols_, begin, end, context.bytes(out_)});
  }

 private:
  BufferId x_, out_;
  RowFormat format_;
  std::int64_t cols_;
  graph::Rows rows_;
};

}  // namespace

Lowering::Lowering(const graph::Graph& graph, const CompileOptions& options, KvType kv, int threads,
                   const kernels::KernelTable& kernels)
    : graph_(graph),
      options_(options),
      kv_(kv),
      threads_(threads),
      kernels_(kernels),
      last_reader_(graph.values.size(), -1),
      value_buffers_(graph.values.size(), -1) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const graph::ValueId id : graph::inputs_of(graph.nodes[i].op)) {
      last_reader_[static_cast<std::size_t>(id)] = static_cast<std::int32_t>(i);
    }
  }
  for (const graph::Output& output : graph.outputs) {
    last_reader_[static_cast<std::size_t>(output.value)] = kForever;
  }
}

std::int64_t Lowering::max_rows(graph::Rows rows) const noexcept {
  return rows == graph::Rows::kStep ? options_.max_rows : options_.max_outputs;
}

BufferId Lowering::new_buffer(std::int64_t bytes) {
  buffer_bytes_.push_back(bytes);
  uses_.emplace_back();
  return static_cast<BufferId>(buffer_bytes_.size() - 1);
}

BufferId Lowering::allocate(graph::ValueId out) {
  const graph::Value& v = value(out);
  const BufferId id =
      new_buffer(max_rows(v.rows) * v.cols * static_cast<std::int64_t>(sizeof(float)));
  value_buffers_[static_cast<std::size_t>(out)] = id;
  return id;
}

BufferId Lowering::reuse(graph::ValueId out, graph::ValueId input) {
  const bool dies = last_reader_[static_cast<std::size_t>(input)] == node_;
  if (!dies || value(out).cols != value(input).cols || value(out).rows != value(input).rows) {
    return allocate(out);
  }
  return value_buffers_[static_cast<std::size_t>(out)] = buffer(input);
}

BufferId Lowering::packed(graph::ValueId id, RowFormat format) {
  const auto [it, is_new] = packed_.try_emplace({id, format}, -1);
  if (!is_new) return it->second;
  const graph::Value& v = value(id);
  it->second = new_buffer(kernels::packed_rows_bytes(format, max_rows(v.rows), v.cols));
  add(std::make_unique<PackStep>(buffer(id), it->second, format, v.cols, v.rows),
      {v.rows == graph::Rows::kStep ? Split::kRows : Split::kOther, {buffer(id)}, {it->second}});
  return it->second;
}

bool Lowering::needs_barrier(const StepInfo& info) const {
  const auto phase = static_cast<std::int32_t>(phases_.size()) - 1;
  const bool rows = info.split == Split::kRows;
  const auto conflicts = [&](BufferId id, bool write) {
    const Use& use = uses_[static_cast<std::size_t>(id)];
    if (use.write_phase == phase && !(rows && use.write_rows)) return true;
    return write && use.read_phase == phase && !(rows && use.read_rows);
  };
  return std::any_of(info.reads.begin(), info.reads.end(),
                     [&](BufferId id) { return conflicts(id, false); }) ||
         std::any_of(info.writes.begin(), info.writes.end(),
                     [&](BufferId id) { return conflicts(id, true); });
}

void Lowering::note_use(BufferId id, bool write, bool rows) {
  Use& use = uses_[static_cast<std::size_t>(id)];
  const auto phase = static_cast<std::int32_t>(phases_.size()) - 1;
  if (use.first < 0) use.first = phase;
  use.last = phase;
  std::int32_t& last_phase = write ? use.write_phase : use.read_phase;
  bool& all_rows = write ? use.write_rows : use.read_rows;
  all_rows = (last_phase == phase ? all_rows : true) && rows;
  last_phase = phase;
}

void Lowering::add(std::unique_ptr<Step> step, StepInfo info) {
  if (phases_.empty() || needs_barrier(info)) phases_.push_back({steps_.size(), steps_.size()});
  const bool rows = info.split == Split::kRows;
  for (const BufferId id : info.reads) note_use(id, false, rows);
  for (const BufferId id : info.writes) note_use(id, true, rows);
  scratch_bytes_ = std::max(scratch_bytes_, info.scratch_bytes);
  steps_.push_back(std::move(step));
  phases_.back().end = steps_.size();
}

Lowered Lowering::finish() {
  // A buffer lives from its first phase to its last: within a phase threads run freely, so phases,
  // not steps, are the unit of time.
  for (const graph::Output& output : graph_.outputs) {
    uses_[static_cast<std::size_t>(buffer(output.value))].last = kForever;
  }
  std::vector<graph::Lifetime> lifetimes;
  lifetimes.reserve(uses_.size());
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    lifetimes.push_back({buffer_bytes_[i], uses_[i].first, uses_[i].last});
  }
  Lowered lowered;
  lowered.buffers = graph::plan_buffers(lifetimes);
  lowered.steps = std::move(steps_);
  lowered.phases = std::move(phases_);
  lowered.scratch_bytes = (scratch_bytes_ + 63) / 64 * 64;
  lowered.value_buffers = std::move(value_buffers_);
  return lowered;
}

Result<Lowered> Lowering::lower(const graph::Graph& graph, const CompileOptions& options, KvType kv,
                                int threads, const kernels::KernelTable& kernels) {
  Lowering lowering(graph, options, kv, threads, kernels);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    lowering.node_ = static_cast<std::int32_t>(i);
    const graph::Node& node = graph.nodes[i];
    const LowerFn lower_node = find_lowering(node.op.index());
    if (lower_node == nullptr) {
      return Error(ErrorCode::kUnsupported, "the cpu backend lacks an operation")
          .of(graph::op_name(node.op));
    }
    QUERN_CHECK(lower_node(lowering, node.op, node.out));
  }
  return lowering.finish();
}

}  // namespace quern::backends::cpu
