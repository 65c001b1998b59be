#include "convert/second_moments.h"

#include <algorithm>

namespace quern::convert {
namespace {

/// One weight's place in the list of inputs. Two weights share one where their keys are equal.
struct InputKey {
  std::vector<graph::ValueId> values;  ///< Of linear products; of experts the node.
  bool of_experts = false;
};

struct SeenWeight {
  InputKey key;
  std::string name;
  std::int64_t matrices, cols;
  std::size_t last_node;
};

/// Weights in the order of their first product, with all values that enter products with them.
class WeightList {
 public:
  void add(const graph::Graph& graph, graph::WeightId id, graph::ValueId value, bool of_experts,
           std::size_t node) {
    const graph::Weight& weight = graph.weights[static_cast<std::size_t>(id)];
    for (SeenWeight& known : seen) {
      if (known.name != weight.name) continue;
      known.key.values.push_back(value);
      known.last_node = node;
      return;
    }
    seen.push_back({{{value}, of_experts},
                    weight.name,
                    of_experts ? weight.view.batch : 1,
                    weight.view.cols,
                    node});
  }
  std::vector<SeenWeight> seen;
};

void add_diagonal(MomentMatrix& sum, const backends::ObservedRows& x, int thread, int threads) {
  const std::int64_t begin = x.cols * thread / threads, end = x.cols * (thread + 1) / threads;
  for (std::int64_t row = 0; row < x.n; ++row) {
    const float* at = x.rows + row * x.cols;
    for (std::int64_t k = begin; k < end; ++k) {
      sum.values[static_cast<std::size_t>(k)] += at[k] * at[k];
    }
  }
}

}  // namespace

std::vector<SharedInput> find_inputs(const graph::Graph& graph) {
  WeightList list;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (const auto* linear = std::get_if<graph::LinearOp>(&graph.nodes[i].op)) {
      list.add(graph, linear->weight, linear->x, false, i);
    } else if (const auto* experts = std::get_if<graph::ExpertsOp>(&graph.nodes[i].op)) {
      list.add(graph, experts->gate, experts->x, true, i);
      list.add(graph, experts->up, experts->x, true, i);
      list.add(graph, experts->down, graph.nodes[i].out, true, i);
    }
  }
  std::vector<SharedInput> inputs;
  std::vector<const InputKey*> keys;
  for (const SeenWeight& weight : list.seen) {
    std::size_t at = 0;
    while (at < keys.size() && (keys[at]->values != weight.key.values ||
                                keys[at]->of_experts != weight.key.of_experts)) {
      ++at;
    }
    if (at == keys.size()) {
      keys.push_back(&weight.key);
      inputs.push_back({{}, weight.matrices, weight.cols, 0});
    }
    inputs[at].weights.push_back(weight.name);
    inputs[at].last_node = std::max(inputs[at].last_node, weight.last_node);
  }
  return inputs;
}

void SecondMoments::add_input(const SharedInput& input, bool full) {
  if (full && input.cols > most_cols_) {
    most_cols_ = input.cols;
    products_.clear();
    for (int i = 0; i < threads_; ++i) products_.emplace_back(most_cols_);
  }
  auto& sums = sums_[input.weights.front()];
  for (std::int64_t i = 0; i < input.matrices; ++i) {
    auto sum = std::make_shared<MomentMatrix>();
    sum->cols = input.cols;
    sum->full = full;
    sum->values.resize(static_cast<std::size_t>(input.cols * sum->stride()));
    sums.push_back(std::move(sum));
  }
}

std::shared_ptr<MomentMatrix> SecondMoments::find(std::string_view first_weight,
                                                  std::int64_t matrix) const {
  const auto found = sums_.find(first_weight);
  if (found == sums_.end() || matrix >= static_cast<std::int64_t>(found->second.size())) {
    return nullptr;
  }
  return found->second[static_cast<std::size_t>(matrix)];
}

std::uint64_t SecondMoments::bytes(const SharedInput& input, bool full) {
  const auto cols = static_cast<std::uint64_t>(input.cols);
  return static_cast<std::uint64_t>(input.matrices) * cols * (full ? cols : 1) * sizeof(float);
}

bool SecondMoments::wants(std::string_view weight) const { return sums_.count(weight) != 0; }

void SecondMoments::see(const backends::ObservedRows& rows, int thread, int threads) noexcept {
  const auto found = sums_.find(rows.weight);
  if (found == sums_.end()) return;
  MomentMatrix& sum = *found->second[static_cast<std::size_t>(rows.matrix)];
  if (thread == 0) sum.rows += rows.n;
  if (sum.full) {
    products_[static_cast<std::size_t>(thread)].add(rows.rows, rows.n, rows.cols, thread, threads,
                                                    sum.values.data());
  } else {
    add_diagonal(sum, rows, thread, threads);
  }
}

}  // namespace quern::convert
