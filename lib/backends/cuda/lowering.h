/// \file
/// From a graph to launches and buffers on a device.
///
/// A program is a list of steps in the order of the graph's nodes, each of which issues its
/// launches to one stream; what a step depends on has been issued before it, so nothing else orders
/// them. Numbers follow the law of lib/kernels/kernel_table.h: the results have the bits of the
/// processor's backend.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/kernels/step_args.h"
#include "backends/cuda/stream.h"
#include "graph/graph.h"

namespace quern::backends::cuda {

using BufferId = std::int32_t;
/// Index of a kernel among those that a program uses.
using KernelId = std::int32_t;

/// Rows up to which a step is issued in the same shape whatever its positions are, so that it can
/// be recorded once and replayed.
inline constexpr std::int64_t kFewRows = 8;

inline constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// What a step sees when it issues its launches. All pointers are the device's.
class LaunchContext {
 public:
  Stream& stream;
  std::span<const Kernel> kernels;         ///< By KernelId.
  std::span<const std::uint64_t> buffers;  ///< By BufferId.
  std::span<const std::uint64_t> weights;  ///< By WeightId; 0: not used.
  std::span<const std::uint64_t> tables;   ///< By the numbers of Lowering::table().
  StepArrays arrays;                       ///< Of this step.
  std::int64_t rows, outputs, sequences;   ///< T, output rows, sequences.
  std::int64_t max_end;  ///< No row of the step sees a position or source row ≥ this.
  std::int64_t best;     ///< How many of the best logits are wanted; 0: all of them.

  float* floats(BufferId id) const { return reinterpret_cast<float*>(at(id)); }
  std::byte* bytes(BufferId id) const { return reinterpret_cast<std::byte*>(at(id)); }
  std::uint64_t at(BufferId id) const { return buffers[static_cast<std::size_t>(id)]; }
  const std::byte* weight(graph::WeightId id) const {
    return reinterpret_cast<const std::byte*>(weights[static_cast<std::size_t>(id)]);
  }
  /// A plain float32 weight; nullptr for kNone.
  const float* vector(graph::WeightId id) const {
    return id == graph::kNone ? nullptr : reinterpret_cast<const float*>(weight(id));
  }
  template <class T>
  const T* table(std::int32_t id) const {
    return reinterpret_cast<const T*>(tables[static_cast<std::size_t>(id)]);
  }

  /// Rows of a value in this step.
  std::int64_t count(const graph::Value& value) const noexcept {
    switch (value.rows) {
      case graph::Rows::kOutput:
        return outputs;
      case graph::Rows::kSequence:
        return sequences;
      case graph::Rows::kConstant:
        return value.count;
      case graph::Rows::kStep:
        break;
    }
    return rows;
  }

  /// Nothing is launched where the grid is empty.
  template <class Args>
  Status launch(KernelId kernel, Dim3 grid, Dim3 block, const Args& args,
                std::uint32_t shared_bytes = 0) const {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};
    return stream.launch(kernels[static_cast<std::size_t>(kernel)], grid, block, shared_bytes,
                         args);
  }
  /// One thread for each of `n` items, in blocks of 256.
  template <class Args>
  Status launch_flat(KernelId kernel, std::int64_t n, const Args& args) const {
    return launch(kernel, {static_cast<std::uint32_t>(ceil_div(n, 256)), 1, 1}, {256, 1, 1}, args);
  }
};

/// Issues the launches of one part of a node. Allocates nothing.
using Issue = std::function<Status(const LaunchContext&)>;

struct Step {
  Issue issue;
  bool once = false;  ///< Of a constant: in the program's first step only.
  std::string kind, name;
  std::int32_t layer = -1;
};

/// Numbers made on the processor that a program keeps on the device.
using TableData = std::vector<std::byte>;

/// Where the best logits of a step lie (best.h).
struct BestKeys {
  BufferId keys = -1;     ///< −1: the graph has no such output.
  std::int64_t most = 0;  ///< Of a row.
};

/// The outcome: everything a program needs, without memory.
struct Lowered {
  std::vector<Step> steps;
  std::vector<std::string> kernels;     ///< By KernelId.
  std::vector<std::int64_t> offsets;    ///< By BufferId, in the arena.
  std::vector<BufferId> value_buffers;  ///< By ValueId; −1: the value needs none.
  std::vector<bool> uses_weight;        ///< By WeightId.
  std::vector<BufferId> inputs;         ///< By number of graph::InputOp; −1: not used.
  std::vector<TableData> tables;
  BestKeys best;
  std::uint64_t arena_bytes = 0;
};

/// Collects steps and buffers while the ops' lowerings run. Values are single-assignment.
class Lowering {
 public:
  Lowering(const graph::Graph& graph, const CompileOptions& options, KvType kv);

  const graph::Graph& graph() const noexcept { return graph_; }
  const CompileOptions& options() const noexcept { return options_; }
  KvType kv() const noexcept { return kv_; }
  const graph::Value& value(graph::ValueId id) const {
    return graph_.values[static_cast<std::size_t>(id)];
  }
  /// The weight, noted as one that the device will hold.
  const graph::Weight& weight(graph::WeightId id);
  std::int64_t max_rows(const graph::Value& value) const noexcept;

  /// The kernel `name`; whether the device has it is seen when the program is made.
  KernelId kernel(const std::string& name);
  /// The kernel "quern_<what>_<encoding>". kUnsupported naming weight and op where this backend
  /// has none for the weight's encoding.
  Result<KernelId> weight_kernel(const char* what, const graph::Weight& weight, const char* op);

  BufferId new_buffer(std::int64_t bytes);
  BufferId buffer(graph::ValueId id) const { return value_buffers_[static_cast<std::size_t>(id)]; }
  /// Gives `out` a buffer of its shape.
  BufferId allocate(graph::ValueId out);
  /// The value packed for weights of `format`; packed once, however many ops read it.
  BufferId packed(graph::ValueId id, RowFormat format);
  /// The buffer into which the program puts input `number` before each step.
  void hold_input(std::int64_t number, BufferId id);
  /// Keeps `data` on the device; the same number for the same data.
  std::int32_t table(TableData data);
  template <class T>
  std::int32_t table(const std::vector<T>& values) {
    const auto* data = reinterpret_cast<const std::byte*>(values.data());
    return table(TableData(data, data + values.size() * sizeof(T)));
  }

  /// Appends a step of the current node that reads and writes these buffers.
  void add(const char* kind, const std::vector<BufferId>& reads,
           const std::vector<BufferId>& writes, Issue issue);

  /// Lowers every node. kUnsupported naming op and encoding where the device lacks one.
  static Result<Lowered> lower(const graph::Graph& graph, const CompileOptions& options, KvType kv);

 private:
  struct Buffer {
    std::int64_t bytes;
    std::int32_t first = -1, last = -1;  ///< Steps that use it.
  };
  void touch(BufferId id, std::int32_t step);
  Lowered finish();

  const graph::Graph& graph_;
  const CompileOptions& options_;
  const KvType kv_;
  std::size_t node_ = 0;
  std::vector<Buffer> buffers_;
  std::vector<BufferId> value_buffers_;
  std::map<std::pair<graph::ValueId, RowFormat>, BufferId> packed_;
  std::map<std::string, KernelId> kernel_ids_;
  Lowered result_;
};

}  // namespace quern::backends::cuda
