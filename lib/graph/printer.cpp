#include <string>

#include "graph/graph.h"

namespace quern::graph {
namespace {

void append_weight(std::string& text, const Graph& graph, WeightId id) {
  if (id == kNone) return;
  const Weight& weight = graph.weights[static_cast<std::size_t>(id)];
  const EncodingInfo* info = find_encoding(weight.view.encoding);
  text += " " + weight.name + ":" + std::string(info != nullptr ? info->name : "?") + "[" +
          std::to_string(weight.view.rows) + "," + std::to_string(weight.view.cols) + "]";
}

std::string rows_text(const Value& value) {
  switch (value.rows) {
    case Rows::kStep:
      return "T";
    case Rows::kOutput:
      return "outputs";
    case Rows::kSequence:
      return "sequences";
    case Rows::kConstant:
      break;
  }
  return std::to_string(value.count);
}

struct WeightsOf {
  const Graph& graph;
  std::string& text;

  void operator()(const EmbeddingOp& op) const {
    append_weight(text, graph, op.table);
    if (op.first >= 0) text += " first=" + std::to_string(op.first);
  }
  void operator()(const PositionEmbeddingOp& op) const { append_weight(text, graph, op.table); }
  void operator()(const TypeEmbeddingOp& op) const { append_weight(text, graph, op.table); }
  void operator()(const ConstantRowsOp& op) const { append_weight(text, graph, op.table); }
  void operator()(const EncoderAttentionOp& op) const {
    append_weight(text, graph, op.bias.table);
    text += " heads=" + std::to_string(op.n_heads);
    if (op.window > 0) text += " window=" + std::to_string(op.window);
    if (op.causal) text += " causal";
  }
  void operator()(const LinearOp& op) const {
    append_weight(text, graph, op.weight);
    append_weight(text, graph, op.bias);
  }
  void operator()(const RmsNormOp& op) const { append_weight(text, graph, op.weight); }
  void operator()(const LayerNormOp& op) const {
    append_weight(text, graph, op.weight);
    append_weight(text, graph, op.bias);
  }
  void operator()(const AttentionOp& op) const {
    const KvState& state = graph.states[static_cast<std::size_t>(op.state)];
    text += " heads=" + std::to_string(op.n_heads) + "/" + std::to_string(state.n_kv_heads);
    if (state.window > 0) text += " window=" + std::to_string(state.window);
    if (!op.alibi_slopes.empty()) text += " alibi";
    if (op.k == kNone) text += " reads the keys and values of state " + std::to_string(op.state);
    append_weight(text, graph, op.sinks);
    append_weight(text, graph, op.bias.table);
  }
  void operator()(const CrossAttentionOp& op) const {
    const KvState& state = graph.states[static_cast<std::size_t>(op.state)];
    text += " heads=" + std::to_string(op.n_heads) + "/" + std::to_string(state.n_kv_heads);
  }
  void operator()(const RouteOp& op) const {
    text += " used=" + std::to_string(op.n_used);
    append_weight(text, graph, op.bias);
  }
  void operator()(const ExpertsOp& op) const {
    for (const WeightId id : {op.gate, op.gate_bias, op.up, op.up_bias, op.down, op.down_bias})
      append_weight(text, graph, id);
    for (const ExpertPair& pair : op.pairs) {
      append_weight(text, graph, pair.a);
      append_weight(text, graph, pair.b);
    }
  }
  void operator()(const ScaleColumnsOp& op) const { append_weight(text, graph, op.weight); }
  void operator()(const CausalConvOp& op) const {
    append_weight(text, graph, op.weight);
    append_weight(text, graph, op.bias);
  }
  void operator()(const ScanOp& op) const {
    for (const WeightId id : {op.a, op.skip, op.dt_bias}) append_weight(text, graph, id);
  }
  template <class T>
  void operator()(const T&) const {}
};

}  // namespace

std::string print_graph(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes) {
    const Value& out = graph.values[static_cast<std::size_t>(node.out)];
    text += "%" + std::to_string(node.out) + " " + out.name + " [" + rows_text(out) + "," +
            std::to_string(out.cols) + "] = " + op_name(node.op);
    for (const ValueId id : inputs_of(node.op)) text += " %" + std::to_string(id);
    std::visit(WeightsOf{graph, text}, node.op);
    text += "\n";
  }
  for (const Output& output : graph.outputs) {
    text += "output " + output.name + " %" + std::to_string(output.value) + "\n";
  }
  return text;
}

}  // namespace quern::graph
