#include "backends/cpu/lowering.h"

#include <algorithm>

#include "backends/cpu/ops.h"
#include "backends/cpu/unsupported.h"
#include "kernels/kernel_table.h"

namespace quern::backends::cpu {
namespace {

/// Packs the rows of one value for linear layers.
class PackStep final : public Step {
 public:
  PackStep(BufferId x, BufferId out, RowFormat format, const graph::Value& value)
      : x_(x), out_(out), format_(format), cols_(value.cols), rows_(value) {}

  void run(const StepContext& context) const override {
    const std::int64_t n = context.count(rows_);
    const auto tiles = [](std::int64_t rows) {
      return (rows + kernels::kRowTile - 1) / kernels::kRowTile;
    };
    context.kernels.pack_rows[static_cast<std::size_t>(format_)](
        {context.floats(x_), cols_, n, cols_, tiles(context.row_begin), tiles(context.row_end),
         context.bytes(out_)});
  }

 private:
  BufferId x_, out_;
  RowFormat format_;
  std::int64_t cols_;
  RowKind rows_;
};

}  // namespace

Lowering::Lowering(const graph::Graph& graph, const CompileOptions& options, KvType kv,
                   const kernels::KernelTable& kernels)
    : graph_(graph),
      options_(options),
      kv_(kv),
      kernels_(kernels),
      last_reader_(graph.values.size(), -1),
      reads_(graph.values.size(), 0),
      producer_(graph.values.size(), -1),
      is_taken_(graph.nodes.size(), false),
      value_buffers_(graph.values.size(), -1) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const graph::Node& node = graph.nodes[i];
    for (const graph::ValueId id : graph::inputs_of(node.op)) {
      last_reader_[static_cast<std::size_t>(id)] = static_cast<std::int32_t>(i);
      ++reads_[static_cast<std::size_t>(id)];
    }
    if (node.out != graph::kNone)
      producer_[static_cast<std::size_t>(node.out)] = static_cast<std::int32_t>(i);
  }
  for (const graph::Output& output : graph.outputs) {
    last_reader_[static_cast<std::size_t>(output.value)] = kForever;
  }
}

std::int64_t Lowering::max_rows(const graph::Value& value) const noexcept {
  switch (value.rows) {
    case graph::Rows::kOutput:
      return options_.max_outputs;
    case graph::Rows::kConstant:
      return value.count;
    default:
      return options_.max_rows;  // At most as many sequences as rows.
  }
}

const graph::Node* Lowering::producer(graph::ValueId id) const {
  const std::int32_t node = producer_[static_cast<std::size_t>(id)];
  return node < 0 ? nullptr : &graph_.nodes[static_cast<std::size_t>(node)];
}

BufferId Lowering::new_buffer(std::int64_t many_bytes, std::int64_t few_bytes) {
  buffers_.push_back({many_bytes, few_bytes});
  return static_cast<BufferId>(buffers_.size() - 1);
}

BufferId Lowering::allocate(graph::ValueId out) {
  const graph::Value& v = value(out);
  const std::int64_t row_bytes = v.cols * static_cast<std::int64_t>(sizeof(float));
  const BufferId id = new_buffer(max_rows(v) * row_bytes, few_rows(v) * row_bytes);
  buffers_.back().row_bytes = row_bytes;
  buffers_.back().is_output = last_reader_[static_cast<std::size_t>(out)] == kForever;
  buffers_.back().is_constant = v.rows == graph::Rows::kConstant;
  value_buffers_[static_cast<std::size_t>(out)] = id;
  return id;
}

BufferId Lowering::reuse(graph::ValueId out, graph::ValueId input) {
  const BufferId id = allocate(out);
  const bool dies = last_reader_[static_cast<std::size_t>(input)] == node_;
  if (dies && !buffers_.back().is_constant && value(out).cols == value(input).cols &&
      value(out).rows == value(input).rows)
    buffers_.back().takes_over = buffer(input);
  return id;
}

BufferId Lowering::packed(graph::ValueId id, RowFormat format) {
  const auto [it, is_new] = packed_.try_emplace({id, format}, -1);
  if (!is_new) return it->second;
  const graph::Value& v = value(id);
  it->second = new_buffer(kernels::packed_rows_bytes(format, max_rows(v), v.cols),
                          kernels::packed_rows_bytes(format, few_rows(v), v.cols));
  buffers_.back().row_bytes = packed_row_bytes(format, v.cols);
  StepInfo info = by_rows_of(v, {buffer(id)}, {it->second});
  info.kind = "pack";
  add(std::make_unique<PackStep>(buffer(id), it->second, format, v), std::move(info));
  return it->second;
}

Result<std::shared_ptr<const DistanceBias>> Lowering::distance_bias(const char* op,
                                                                    const graph::RelativeBias& bias,
                                                                    std::int64_t back,
                                                                    std::int64_t ahead) {
  if (bias.table == graph::kNone) return std::shared_ptr<const DistanceBias>();
  const graph::Weight& table = weight(bias.table);
  if (kernels_.gather_row[static_cast<std::size_t>(table.view.encoding)] == nullptr)
    return unsupported_encoding(op, table);
  std::shared_ptr<const DistanceBias>& known = distance_biases_[bias.table];
  if (known == nullptr)
    known = std::make_shared<const DistanceBias>(bias, table.view, kernels_, back, ahead);
  return known;
}

BufferId Lowering::mark_of(graph::StateId state) {
  const auto [it, is_new] = marks_.try_emplace(state, -1);
  if (is_new) it->second = new_buffer(0, 0);
  return it->second;
}

void Lowering::add(std::unique_ptr<Step> step, StepInfo info) {
  const graph::Node& node = graph_.nodes[static_cast<std::size_t>(node_)];
  labels_.push_back({info.kind != nullptr ? info.kind : graph::op_name(node.op),
                     value(node.out).name, node.layer});
  steps_.push_back(std::move(step));
  infos_.push_back(std::move(info));
}

Lowered Lowering::finish() {
  Lowered lowered;
  lowered.many = make_schedule(infos_, buffers_, false);
  lowered.few = make_schedule(infos_, buffers_, true);
  for (const StepInfo& info : infos_)
    lowered.scratch_bytes = std::max(lowered.scratch_bytes, info.scratch_bytes);
  lowered.scratch_bytes = (lowered.scratch_bytes + 63) / 64 * 64;
  lowered.steps = std::move(steps_);
  lowered.labels = std::move(labels_);
  lowered.value_buffers = std::move(value_buffers_);
  return lowered;
}

Result<Lowered> Lowering::lower(const graph::Graph& graph, const CompileOptions& options, KvType kv,
                                const kernels::KernelTable& kernels) {
  Lowering lowering(graph, options, kv, kernels);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (lowering.is_taken_[i]) continue;
    lowering.node_ = static_cast<std::int32_t>(i);
    const graph::Node& node = graph.nodes[i];
    const auto lower_node = [&](const auto& op) { return lower_op(lowering, op, node.out); };
    QUERN_CHECK(std::visit(lower_node, node.op));
  }
  return lowering.finish();
}

}  // namespace quern::backends::cpu
