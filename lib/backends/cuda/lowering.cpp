#include "backends/cuda/lowering.h"

#include <limits>

#include "backends/cuda/best.h"
#include "backends/cuda/linear.h"
#include "backends/cuda/ops.h"
#include "graph/planner.h"

namespace quern::backends::cuda {
namespace {

constexpr std::int32_t kForever = std::numeric_limits<std::int32_t>::max();

/// Whether a value is the output of which StepBinding::best speaks.
bool is_ranked(const graph::Graph& graph, graph::ValueId id) {
  const auto is_logits = [&](const graph::Output& output) {
    return output.value == id && output.name == kRankedOutput;
  };
  return graph.values[static_cast<std::size_t>(id)].rows == graph::Rows::kOutput &&
         std::any_of(graph.outputs.begin(), graph.outputs.end(), is_logits);
}

}  // namespace

Lowering::Lowering(const graph::Graph& graph, const CompileOptions& options, KvType kv)
    : graph_(graph), options_(options), kv_(kv), value_buffers_(graph.values.size(), -1) {
  result_.uses_weight.assign(graph.weights.size(), false);
}

const graph::Weight& Lowering::weight(graph::WeightId id) {
  const auto at = static_cast<std::size_t>(id);
  result_.uses_weight[at] = true;
  return graph_.weights[at];
}

std::int64_t Lowering::max_rows(const graph::Value& value) const noexcept {
  if (value.rows == graph::Rows::kOutput) return options_.max_outputs;
  if (value.rows == graph::Rows::kConstant) return value.count;
  return options_.max_rows;  // At most as many sequences as rows.
}

KernelId Lowering::kernel(const std::string& name) {
  const auto [it, is_new] =
      kernel_ids_.try_emplace(name, static_cast<KernelId>(result_.kernels.size()));
  if (is_new) result_.kernels.push_back(name);
  return it->second;
}

Result<KernelId> Lowering::weight_kernel(const char* what, const graph::Weight& weight,
                                         const char* op) {
  const EncodingInfo* info = find_encoding(weight.view.encoding);
  if (info == nullptr || !info->weight || weight.view.layout != Layout::kPanel16) {
    return Error(ErrorCode::kUnsupported, "the cuda backend lacks a kernel for an encoding")
        .of(weight.name + " [" + std::to_string(weight.view.rows) + ", " +
            std::to_string(weight.view.cols) + "], op " + op)
        .got(info != nullptr ? std::string(info->name)
                             : std::to_string(static_cast<int>(weight.view.encoding)));
  }
  return kernel("quern_" + std::string(what) + "_" + std::string(info->name));
}

BufferId Lowering::new_buffer(std::int64_t bytes) {
  buffers_.push_back({bytes});
  return static_cast<BufferId>(buffers_.size() - 1);
}

BufferId Lowering::allocate(graph::ValueId out) {
  const graph::Value& v = value(out);
  const BufferId id = new_buffer(max_rows(v) * v.cols * static_cast<std::int64_t>(sizeof(float)));
  if (v.rows == graph::Rows::kConstant) {
    touch(id, 0);
    touch(id, kForever);
  }
  value_buffers_[static_cast<std::size_t>(out)] = id;
  return id;
}

BufferId Lowering::packed(graph::ValueId id, RowFormat format) {
  if (format == RowFormat::kF32) return buffer(id);
  const auto [it, is_new] = packed_.try_emplace({id, format}, -1);
  if (!is_new) return it->second;
  const graph::Value& v = value(id);
  const std::int64_t tiles = ceil_div(max_rows(v), kTileRows);
  it->second = new_buffer(tiles * packed_tile_bytes(format, v.cols));
  if (v.rows == graph::Rows::kConstant) touch(it->second, kForever);
  add_pack(*this, id, format, it->second);
  return it->second;
}

void Lowering::hold_input(std::int64_t number, BufferId id) {
  const auto at = static_cast<std::size_t>(number);
  if (result_.inputs.size() <= at) result_.inputs.resize(at + 1, -1);
  result_.inputs[at] = id;
  touch(id, 0);
}

std::int32_t Lowering::table(TableData data) {
  // Layers that share a table have it once.
  std::vector<TableData>& tables = result_.tables;
  const auto known = std::find(tables.begin(), tables.end(), data);
  const auto number = static_cast<std::int32_t>(known - tables.begin());
  if (known == tables.end()) tables.push_back(std::move(data));
  return number;
}

void Lowering::touch(BufferId id, std::int32_t step) {
  Buffer& buffer = buffers_[static_cast<std::size_t>(id)];
  buffer.first = buffer.first < 0 ? step : std::min(buffer.first, step);
  buffer.last = std::max(buffer.last, step);
}

void Lowering::add(const char* kind, const std::vector<BufferId>& reads,
                   const std::vector<BufferId>& writes, Issue issue) {
  const auto step = static_cast<std::int32_t>(result_.steps.size());
  for (const BufferId id : reads) touch(id, step);
  for (const BufferId id : writes) touch(id, step);
  const graph::Node& node = graph_.nodes[node_];
  const bool has_value = node.out != graph::kNone;
  const bool once = has_value && value(node.out).rows == graph::Rows::kConstant;
  result_.steps.push_back({std::move(issue), once, kind != nullptr ? kind : graph::op_name(node.op),
                           has_value ? value(node.out).name : std::string(), node.layer});
}

Lowered Lowering::finish() {
  for (const graph::Output& output : graph_.outputs) touch(buffer(output.value), kForever);
  if (result_.best.keys >= 0) touch(result_.best.keys, kForever);
  std::vector<graph::Lifetime> lifetimes;
  for (const Buffer& buffer : buffers_)
    lifetimes.push_back(
        {buffer.first < 0 ? 0 : buffer.bytes, std::max(buffer.first, 0), std::max(buffer.last, 0)});
  graph::BufferPlan plan = graph::plan_buffers(lifetimes);
  result_.offsets = std::move(plan.offsets);
  result_.arena_bytes = static_cast<std::uint64_t>(plan.total_bytes);
  result_.value_buffers = std::move(value_buffers_);
  return std::move(result_);
}

Result<Lowered> Lowering::lower(const graph::Graph& graph, const CompileOptions& options,
                                KvType kv) {
  Lowering lowering(graph, options, kv);
  for (lowering.node_ = 0; lowering.node_ < graph.nodes.size(); ++lowering.node_) {
    const graph::Node& node = graph.nodes[lowering.node_];
    const auto lower_node = [&](const auto& op) { return lower_op(lowering, op, node.out); };
    QUERN_CHECK(std::visit(lower_node, node.op));
    if (node.out != graph::kNone && is_ranked(graph, node.out))
      lowering.result_.best = add_best(lowering, node.out);
  }
  return lowering.finish();
}

}  // namespace quern::backends::cuda
