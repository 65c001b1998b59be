/// \file
/// From a graph to steps, schedules and buffers.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/step.h"
#include "backends/relative_positions.h"
#include "backends/step_recorder.h"
#include "graph/graph.h"

namespace quern::backends::cpu {

/// The outcome: everything a program needs, without memory.
struct Lowered {
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<StepLabel> labels;  ///< Of each step.
  Schedule many, few;
  std::int64_t scratch_bytes = 0;       ///< Of each thread, a multiple of 64.
  std::vector<BufferId> value_buffers;  ///< By ValueId.
};

/// A step that goes by the rows of a value.
inline StepInfo by_rows_of(const graph::Value& value, std::vector<BufferId> reads,
                           std::vector<BufferId> writes) {
  const RowKind kind(value);
  StepInfo info{kind.split, std::move(reads), std::move(writes)};
  info.constant_rows = kind.constant;
  return info;
}

/// Bytes of one packed row: row r of many begins at r times that, r a multiple of a row tile.
inline std::int64_t packed_row_bytes(RowFormat format, std::int64_t cols) noexcept {
  constexpr std::int64_t kRows = 16;  // These begin and end with whole lines in every packing.
  return kernels::packed_rows_bytes(format, kRows, cols) / kRows;
}

/// Collects steps and buffers while the ops' lowerings run. Values are single-assignment.
class Lowering {
 public:
  Lowering(const graph::Graph& graph, const CompileOptions& options, KvType kv,
           const kernels::KernelTable& kernels);

  const graph::Graph& graph() const noexcept { return graph_; }
  const CompileOptions& options() const noexcept { return options_; }
  KvType kv() const noexcept { return kv_; }
  const kernels::KernelTable& kernels() const noexcept { return kernels_; }

  /// Largest number of rows of a value, in steps of many rows or of few.
  std::int64_t max_rows(const graph::Value& value) const noexcept;
  std::int64_t few_rows(const graph::Value& value) const noexcept {
    const bool constant = value.rows == graph::Rows::kConstant;
    return constant ? value.count : std::min(max_rows(value), kFewRows);
  }
  const graph::Value& value(graph::ValueId id) const {
    return graph_.values[static_cast<std::size_t>(id)];
  }
  const graph::Weight& weight(graph::WeightId id) const {
    return graph_.weights[static_cast<std::size_t>(id)];
  }

  /// The node that makes a value; nullptr: an input of the graph.
  const graph::Node* producer(graph::ValueId id) const;
  /// Whether a later node or whoever runs the program reads a value.
  bool is_read(graph::ValueId id) const { return last_reader_[static_cast<std::size_t>(id)] >= 0; }
  /// The op `Op` where it alone reads a value, and once; nullptr: something else does, or more.
  template <class Op>
  const Op* only_reader(graph::ValueId id) const {
    const auto at = static_cast<std::size_t>(id);
    const std::int32_t reader = last_reader_[at];
    if (reads_[at] != 1 || reader < 0 || reader == kForever) return nullptr;
    return std::get_if<Op>(&graph_.nodes[static_cast<std::size_t>(reader)].op);
  }
  /// Says that the current lowering does what the only reader of `id` is for. \return its result.
  graph::ValueId take_reader(graph::ValueId id) {
    const auto node = static_cast<std::size_t>(last_reader_[static_cast<std::size_t>(id)]);
    is_taken_[node] = true;
    return graph_.nodes[node].out;
  }

  /// A buffer of so many bytes in steps of many rows and of few; none: a mark that orders steps.
  BufferId new_buffer(std::int64_t many_bytes, std::int64_t few_bytes);
  /// The buffer that holds a value.
  BufferId buffer(graph::ValueId id) const { return value_buffers_[static_cast<std::size_t>(id)]; }
  /// Gives `out` a new buffer of its shape.
  BufferId allocate(graph::ValueId out);
  /// The same, but where nothing reads `input` after the current node, the new buffer may lie where
  /// the input's lies: the step must allow both.
  BufferId reuse(graph::ValueId out, graph::ValueId input);
  /// The value packed for weights of `format`; packed once, however many ops read it.
  BufferId packed(graph::ValueId id, RowFormat format);

  /// The bias by distance, written out once for all ops of the graph that share its table; nullptr
  /// where `bias` has none. All must ask for the same reach. kUnsupported naming `op` for a table's
  /// encoding.
  Result<std::shared_ptr<const DistanceBias>> distance_bias(const char* op,
                                                            const graph::RelativeBias& bias,
                                                            std::int64_t back, std::int64_t ahead);

  /// The mark that orders the steps of a state: whoever fills it writes the mark, readers read it.
  BufferId mark_of(graph::StateId state);

  void add(std::unique_ptr<Step> step, StepInfo info);

  /// Lowers every node. kUnsupported naming op and encoding where the CPU lacks one.
  static Result<Lowered> lower(const graph::Graph& graph, const CompileOptions& options, KvType kv,
                               const kernels::KernelTable& kernels);

 private:
  static constexpr std::int32_t kForever = std::int32_t{1} << 30;

  Lowered finish();

  const graph::Graph& graph_;
  const CompileOptions& options_;
  const KvType kv_;
  const kernels::KernelTable& kernels_;
  std::vector<std::int32_t> last_reader_;  ///< Node, by ValueId; outputs live for ever.
  std::vector<std::int32_t> reads_;        ///< How many inputs of nodes a value is.
  std::vector<std::int32_t> producer_;     ///< Node, by ValueId; −1: none.
  std::vector<bool> is_taken_;             ///< By node: lowered together with an earlier one.
  std::int32_t node_ = 0;
  std::vector<BufferId> value_buffers_;
  std::map<std::pair<graph::ValueId, RowFormat>, BufferId> packed_;
  std::map<graph::WeightId, std::shared_ptr<const DistanceBias>> distance_biases_;
  std::map<graph::StateId, BufferId> marks_;
  std::vector<BufferInfo> buffers_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<StepLabel> labels_;
  std::vector<StepInfo> infos_;
};

}  // namespace quern::backends::cpu
