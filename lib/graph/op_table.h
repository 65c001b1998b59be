/// \file
/// The table of ops: name, inputs, shape rule. One row per alternative of `Op`, in its order.
#pragma once

#include <span>

#include "graph/graph.h"

namespace quern::graph {

/// How an op relates to the world around it. Functions are pure.
struct OpInfo {
  const char* name;
  /// Values read, in the order of the op's fields (kNone included).
  std::vector<ValueId> (*inputs)(const Op& op);
  /// Shape of the result; kMismatch naming the op where the inputs do not fit.
  Result<Value> (*infer)(const Op& op, const Graph& graph);
};

/// \return the table; its index is Op::index().
std::span<const OpInfo> op_table() noexcept;

}  // namespace quern::graph
