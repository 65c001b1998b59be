/// \file
/// A graph cut in two between layers, for two backends one after the other.
#pragma once

#include "graph/graph.h"

namespace quern::graph {

/// Values, weights and states keep their numbers in both parts; a state that a part does not use
/// takes no memory there. What the upper part reads of the lower one is an output of that
/// ("input0", "input1", …) and an input of this, in the same order.
struct SplitGraph {
  Graph lower, upper;
  std::size_t n_inputs = 0;
};

/// Cuts before the first node of layer `layer`. Thread rule: pure. Errors: kOutOfRange where there
/// is no such layer; kUnsupported where layers on both sides share a state, or the upper part reads
/// what is not one row for each row of a step.
Result<SplitGraph> split_graph(const Graph& graph, std::int32_t layer);

/// Layers of a graph.
std::int32_t count_layers(const Graph& graph) noexcept;

}  // namespace quern::graph
