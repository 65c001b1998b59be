/// \file
/// From a graph to steps, phases and buffers.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/step.h"
#include "graph/graph.h"
#include "graph/planner.h"

namespace quern::backends::cpu {

/// Steps between two barriers.
struct Phase {
  std::size_t begin, end;
};

/// The outcome: everything a program needs, without memory.
struct Lowered {
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<Phase> phases;
  graph::BufferPlan buffers;
  std::int64_t scratch_bytes = 0;       ///< Of each thread, a multiple of 64.
  std::vector<BufferId> value_buffers;  ///< By ValueId.
};

/// Collects steps and buffers while the ops' lowerings run. Values are single-assignment; a
/// lowering may give the result the buffer of an input that dies with the op.
class Lowering {
 public:
  Lowering(const graph::Graph& graph, const CompileOptions& options, KvType kv, int threads,
           const kernels::KernelTable& kernels);

  const graph::Graph& graph() const noexcept { return graph_; }
  const CompileOptions& options() const noexcept { return options_; }
  KvType kv() const noexcept { return kv_; }
  int threads() const noexcept { return threads_; }
  const kernels::KernelTable& kernels() const noexcept { return kernels_; }

  /// Largest number of rows of a value.
  std::int64_t max_rows(graph::Rows rows) const noexcept;
  const graph::Value& value(graph::ValueId id) const {
    return graph_.values[static_cast<std::size_t>(id)];
  }
  const graph::Weight& weight(graph::WeightId id) const {
    return graph_.weights[static_cast<std::size_t>(id)];
  }

  /// A buffer of its own.
  BufferId new_buffer(std::int64_t bytes);
  /// The buffer that holds a value.
  BufferId buffer(graph::ValueId id) const { return value_buffers_[static_cast<std::size_t>(id)]; }
  /// Gives `out` a new buffer of its shape.
  BufferId allocate(graph::ValueId out);
  /// Gives `out` the buffer of `input` if nothing reads `input` after the current node, else a new
  /// one. `copied` tells that the step must copy: the buffers differ.
  BufferId reuse(graph::ValueId out, graph::ValueId input);
  /// The value packed for weights of `format`; packed once, however many ops read it.
  BufferId packed(graph::ValueId id, RowFormat format);

  void add(std::unique_ptr<Step> step, StepInfo info);

  /// Lowers every node. kUnsupported naming op and encoding where the CPU lacks one.
  static Result<Lowered> lower(const graph::Graph& graph, const CompileOptions& options, KvType kv,
                               int threads, const kernels::KernelTable& kernels);

 private:
  struct Use {
    std::int32_t first = -1, last = -1;  ///< Phases.
    std::int32_t write_phase = -1, read_phase = -1;
    bool write_rows = true, read_rows = true;  ///< All of that phase's accesses split by rows.
  };
  bool needs_barrier(const StepInfo& info) const;
  void note_use(BufferId id, bool write, bool rows);
  Lowered finish();

  const graph::Graph& graph_;
  const CompileOptions& options_;
  const KvType kv_;
  const int threads_;
  const kernels::KernelTable& kernels_;
  std::vector<std::int32_t> last_reader_;  ///< Node, by ValueId; outputs live for ever.
  std::int32_t node_ = 0;
  std::vector<BufferId> value_buffers_;
  std::map<std::pair<graph::ValueId, RowFormat>, BufferId> packed_;
  std::vector<std::int64_t> buffer_bytes_;
  std::vector<Use> uses_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<Phase> phases_;
  std::int64_t scratch_bytes_ = 0;
};

}  // namespace quern::backends::cpu
