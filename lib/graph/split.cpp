#include "graph/split.h"

#include <algorithm>
#include <type_traits>

namespace quern::graph {
namespace {

/// The keys and values that a node uses, and the rolling state; kNone: none.
struct UsedStates {
  StateId kv = kNone, rolling = kNone;
};
UsedStates states_of(const Op& op) {
  return std::visit(
      [](const auto& known) -> UsedStates {
        using T = std::decay_t<decltype(known)>;
        if constexpr (std::is_same_v<T, CausalConvOp> || std::is_same_v<T, ScanOp>)
          return {kNone, known.state};
        else if constexpr (requires { known.state; })
          return {known.state, kNone};
        else
          return {};
      },
      op);
}

/// Leaves a part's graph only the states that it uses, and notes which those are.
struct StateUse {
  std::vector<bool> kv, rolling;

  explicit StateUse(Graph& graph) : kv(graph.states.size()), rolling(graph.rolling.size()) {
    for (const Node& node : graph.nodes) {
      const UsedStates used = states_of(node.op);
      if (used.kv != kNone) kv[static_cast<std::size_t>(used.kv)] = true;
      if (used.rolling != kNone) rolling[static_cast<std::size_t>(used.rolling)] = true;
    }
    for (std::size_t i = 0; i < kv.size(); ++i)
      if (!kv[i]) graph.states[i].n_kv_heads = 0;
    for (std::size_t i = 0; i < rolling.size(); ++i)
      if (!rolling[i]) graph.rolling[i].floats = 0;
  }
};

/// The values that the upper nodes read and the lower ones make, in order of number.
std::vector<ValueId> crossing_values(const Graph& lower, const Graph& upper) {
  std::vector<ValueId> made, read;
  for (const Node& node : lower.nodes) made.push_back(node.out);
  for (const Node& node : upper.nodes) {
    for (const ValueId id : inputs_of(node.op))
      if (std::find(made.begin(), made.end(), id) != made.end()) read.push_back(id);
  }
  std::sort(read.begin(), read.end());
  read.erase(std::unique(read.begin(), read.end()), read.end());
  return read;
}

bool makes(const Graph& graph, ValueId id) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [&](const Node& node) { return node.out == id; });
}

/// Makes the crossing values outputs of the lower part and inputs of the upper one.
Status connect(SplitGraph& parts) {
  const std::vector<ValueId> crossing = crossing_values(parts.lower, parts.upper);
  std::vector<Node> inputs;
  for (const ValueId id : crossing) {
    const Value& value = parts.lower.values[static_cast<std::size_t>(id)];
    if (value.rows != Rows::kStep)
      return Error(ErrorCode::kUnsupported, "a model cannot be cut where this value is needed")
          .of(value.name);
    const std::size_t number = parts.n_inputs++;
    parts.lower.outputs.push_back({"input" + std::to_string(number), id});
    inputs.push_back({InputOp{static_cast<std::int64_t>(number), value.cols}, id, -1});
  }
  parts.upper.nodes.insert(parts.upper.nodes.begin(), inputs.begin(), inputs.end());
  return {};
}

}  // namespace

std::int32_t count_layers(const Graph& graph) noexcept {
  std::int32_t layers = 0;
  for (const Node& node : graph.nodes) layers = std::max(layers, node.layer + 1);
  return layers;
}

Result<SplitGraph> split_graph(const Graph& graph, std::int32_t layer) {
  const auto cut = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                [&](const Node& node) { return node.layer >= layer; });
  if (layer < 0 || cut == graph.nodes.end())
    return Error(ErrorCode::kOutOfRange, "the model has no such layer")
        .of("layer")
        .want("0 … " + std::to_string(count_layers(graph) - 1))
        .got(std::to_string(layer));
  SplitGraph parts{graph, graph};
  parts.lower.nodes.assign(graph.nodes.begin(), cut);
  parts.upper.nodes.assign(cut, graph.nodes.end());
  const auto of_part = [](const Graph& part) {
    return [&part](const Output& output) { return !makes(part, output.value); };
  };
  std::erase_if(parts.lower.outputs, of_part(parts.lower));
  std::erase_if(parts.upper.outputs, of_part(parts.upper));
  const StateUse below(parts.lower), above(parts.upper);
  for (std::size_t i = 0; i < below.kv.size(); ++i) {
    if (below.kv[i] && above.kv[i])
      return Error(ErrorCode::kUnsupported,
                   "a model cannot be cut between layers that share keys and values")
          .of("layer")
          .got(std::to_string(layer));
  }
  QUERN_CHECK(connect(parts));
  return parts;
}

}  // namespace quern::graph
