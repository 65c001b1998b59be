#include "convert/baking.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "graph/adapter_scales.h"
#include "graph/builder.h"
#include "quant/registry.h"
#include "runtime/model_state.h"

namespace quern::convert {
namespace {

using quant::TensorView;

constexpr std::string_view kUntiedOutput = "lm_head";

std::vector<float> floats_of(const TensorView& view) {
  const auto count = static_cast<std::size_t>(view.rows * view.cols);
  if (view.layout == Layout::kPlain) return {view.f32(), view.f32() + count};
  const std::int64_t panels = (view.rows + quant::kPanelRows - 1) / quant::kPanelRows;
  const std::uint64_t stride =
      panel_bytes(*find_encoding(view.encoding), static_cast<std::uint64_t>(view.cols)).value_or(0);
  std::vector<float> values;
  for (std::int64_t panel = 0; panel < view.batch * panels; ++panel) {
    // The last panel of a matrix is filled up.
    values.resize(static_cast<std::size_t>(panel / panels) * count +
                  static_cast<std::size_t>((panel % panels + 1) * quant::kPanelRows * view.cols));
    quant::find_ops(view.encoding)
        ->dequantize_panel(view.data + static_cast<std::uint64_t>(panel) * stride, view.cols,
                           values.data() + values.size() - quant::kPanelRows * view.cols);
  }
  values.resize(static_cast<std::size_t>(view.batch) * count);
  return values;
}

/// Reads the changes from the graph of a model with adapters, which has them combined.
class Baker {
 public:
  explicit Baker(const Model::State& adapted) : file_(adapted.file) {
    for (const auto& graph :
         {adapted.graph, adapted.source_graph, adapted.row_layers, adapted.embedding_layers}) {
      if (graph == nullptr) continue;
      graphs_.push_back(graph.get());
      for (const graph::Weight& weight : graph->weights) views_[weight.name] = weight.view;
    }
  }

  BakedTensors run() && {
    for (const auto& [name, view] : views_) take_whole(name, view);
    for (const graph::Graph* graph : graphs_) {
      for (const graph::Node& node : graph->nodes) {
        if (const auto* linear = std::get_if<graph::LinearOp>(&node.op))
          take_matrix(*graph, *linear);
        if (const auto* experts = std::get_if<graph::ExpertsOp>(&node.op))
          take_experts(*graph, *experts);
        if (const auto* embedding = std::get_if<graph::EmbeddingOp>(&node.op))
          take_lookups(name_of(*graph, embedding->table));
      }
    }
    // Rows that are looked up alone may change: the output keeps the old ones.
    const auto embedding = tensors_.find("embed");
    if (shares_output_ && embedding != tensors_.end() && !embedding->second.pairs.empty())
      tensors_[std::string(kUntiedOutput)];
    return std::move(tensors_);
  }

 private:
  static const std::string& name_of(const graph::Graph& graph, graph::WeightId id) {
    return graph.weights[static_cast<std::size_t>(id)].name;
  }

  std::vector<float> factors(const std::string& matrix, std::string_view kind) const {
    const auto found = views_.find(matrix + std::string(kind));
    return found == views_.end() ? std::vector<float>() : floats_of(found->second);
  }

  /// What lies somewhere else than in the file was replaced. An output matrix of its own, in the
  /// place of the embedding, is written even where it is the old embedding.
  void take_whole(const std::string& name, const TensorView& view) {
    const formats::TensorEntry* own = file_.find(name);
    const bool parted = own == nullptr && name == kUntiedOutput;
    if (parted) own = file_.find("embed");
    if (own == nullptr) return;
    if (own->data.data() != view.data)
      tensors_[name].values = floats_of(view);
    else if (parted)
      tensors_[name];
  }

  /// The pairs of rows that are looked up, as pairs of the table's.
  void take_lookups(const std::string& table) {
    if (file_.find(table) == nullptr || !looked_up_.insert(table).second) return;
    for (std::size_t place = 0;; ++place) {
      const auto a = views_.find(graph::lookup_weight(table, place, false));
      const auto b = views_.find(graph::lookup_weight(table, place, true));
      if (a == views_.end() || b == views_.end()) break;
      const auto rank = static_cast<std::size_t>(b->second.cols);
      const auto cols = static_cast<std::size_t>(b->second.rows);
      const std::vector<float> by_column = floats_of(b->second);
      std::vector<float> by_rank(by_column.size());
      for (std::size_t k = 0; k < cols; ++k)
        for (std::size_t r = 0; r < rank; ++r) by_rank[r * cols + k] = by_column[k * rank + r];
      tensors_[table].pairs.push_back({std::move(by_rank), floats_of(a->second), rank,
                                       static_cast<std::size_t>(a->second.rows)});
    }
  }

  /// \return the tensor that a product's changes become part of: not the embedding, whose rows are
  /// looked up, but an output matrix of its own.
  static std::string target_of(const std::string& matrix) {
    return matrix == "embed" ? std::string(kUntiedOutput) : matrix;
  }

  void take_matrix(const graph::Graph& graph, const graph::LinearOp& op) {
    const std::string& matrix = name_of(graph, op.weight);
    const bool known = file_.find(matrix) != nullptr || matrix == kUntiedOutput;
    if (!known || !done_.insert(matrix).second) return;
    BakedTensor baked;
    baked.column_factor = factors(matrix, graph::kInputScale);
    baked.row_factor = factors(matrix, graph::kProductScale);
    std::vector<float> output = factors(matrix, graph::kOutputScale);
    if (!output.empty()) {
      if (op.bias != graph::kNone) tensors_[name_of(graph, op.bias)].row_factor = output;
      baked.row_factor = std::move(output);  // A product's factors come with pairs: never both.
    }
    for (std::size_t place = 0;; ++place) {
      const auto a = views_.find(graph::adapter_weight(matrix, place, false));
      const auto b = views_.find(graph::adapter_weight(matrix, place, true));
      if (a == views_.end() || b == views_.end()) break;
      baked.pairs.push_back(pair_of(a->second, b->second));
    }
    const bool changed =
        !baked.row_factor.empty() || !baked.column_factor.empty() || !baked.pairs.empty();
    if (!changed) {
      if (matrix == "embed") shares_output_ = true;
      return;
    }
    BakedTensor& all = tensors_[target_of(matrix)];  // Perhaps replaced already.
    baked.values = std::move(all.values);
    all = std::move(baked);
  }

  static BakedPair pair_of(const TensorView& a, const TensorView& b) {
    return {floats_of(a), floats_of(b), static_cast<std::size_t>(a.rows),
            static_cast<std::size_t>(b.rows)};
  }

  void take_experts(const graph::Graph& graph, const graph::ExpertsOp& op) {
    for (const graph::ExpertPair& pair : op.pairs) {
      const auto view = [&](graph::WeightId id) {
        return graph.weights[static_cast<std::size_t>(id)].view;
      };
      tensors_[name_of(graph, op.matrix(pair.of))].pairs.push_back(
          pair_of(view(pair.a), view(pair.b)));
    }
  }

  std::vector<const graph::Graph*> graphs_;
  const formats::QuernFile& file_;
  std::map<std::string, TensorView> views_;
  std::set<std::string> done_, looked_up_;
  bool shares_output_ = false;  ///< The output is the embedding, and no product changes it.
  BakedTensors tensors_;
};

}  // namespace

void BakedTensor::apply(std::int64_t row, std::span<float> weights) const {
  const auto at = static_cast<std::size_t>(row);
  if (!values.empty())
    std::copy_n(values.begin() + row * static_cast<std::int64_t>(weights.size()), weights.size(),
                weights.begin());
  for (std::size_t k = 0; k < weights.size() && !column_factor.empty(); ++k)
    weights[k] *= column_factor[k];
  for (std::size_t k = 0; k < weights.size() && !row_factor.empty(); ++k)
    weights[k] *= row_factor[at];
  for (const BakedPair& pair : pairs) {
    const std::size_t first = at / pair.rows * pair.rank;
    for (std::size_t r = 0; r < pair.rank; ++r) {
      const float factor = pair.b[at * pair.rank + r];
      const auto from = std::span(pair.a).subspan((first + r) * weights.size(), weights.size());
      for (std::size_t k = 0; k < weights.size(); ++k) weights[k] += factor * from[k];
    }
  }
}

Result<BakedTensors> bake_adapters(const Model& base, std::span<const AdapterUse> adapters) {
  QUERN_TRY(adapted, with_adapters(base, adapters));
  return Baker(adapted.state()).run();
}

}  // namespace quern::convert
