#include "convert/baking.h"

#include <set>
#include <string_view>

#include "graph/adapter_scales.h"
#include "graph/builder.h"
#include "quant/registry.h"
#include "runtime/model_state.h"

namespace quern::convert {
namespace {

using quant::TensorView;

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
  explicit Baker(const Model::State& adapted) : graph_(*adapted.graph), file_(adapted.file) {
    for (const graph::Weight& weight : graph_.weights) views_[weight.name] = weight.view;
  }

  Result<BakedTensors> run() {
    for (const auto& [name, view] : views_) take_vector(name, view);
    for (const graph::Node& node : graph_.nodes) {
      if (const auto* linear = std::get_if<graph::LinearOp>(&node.op)) take_matrix(*linear);
      if (const auto* experts = std::get_if<graph::ExpertsOp>(&node.op)) take_experts(*experts);
    }
    for (const graph::Node& node : graph_.nodes) {
      const auto* embedding = std::get_if<graph::EmbeddingOp>(&node.op);
      if (embedding == nullptr || tensors_.count(name_of(embedding->table)) == 0) continue;
      return Error(ErrorCode::kUnsupported,
                   "an adapter of an output matrix that is also the embedding cannot be baked in")
          .in_file(file_.path())
          .of(name_of(embedding->table));
    }
    return std::move(tensors_);
  }

 private:
  const std::string& name_of(graph::WeightId id) const {
    return graph_.weights[static_cast<std::size_t>(id)].name;
  }

  std::vector<float> factors(const std::string& matrix, std::string_view kind) const {
    const auto found = views_.find(matrix + std::string(kind));
    return found == views_.end() ? std::vector<float>() : floats_of(found->second);
  }

  /// A vector that lies somewhere else than in the file was replaced.
  void take_vector(const std::string& name, const TensorView& view) {
    const formats::TensorEntry* own = file_.find(name);
    if (own == nullptr || view.layout != Layout::kPlain || own->data.data() == view.data) return;
    tensors_[name].values = floats_of(view);
  }

  void take_matrix(const graph::LinearOp& op) {
    const std::string& matrix = name_of(op.weight);
    if (file_.find(matrix) == nullptr || !done_.insert(matrix).second) return;
    BakedTensor baked;
    baked.column_factor = factors(matrix, graph::kInputScale);
    baked.row_factor = factors(matrix, graph::kProductScale);
    std::vector<float> output = factors(matrix, graph::kOutputScale);
    if (!output.empty()) {
      if (op.bias != graph::kNone) tensors_[name_of(op.bias)].row_factor = output;
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
    if (changed) tensors_[matrix] = std::move(baked);
  }

  static BakedPair pair_of(const TensorView& a, const TensorView& b) {
    return {floats_of(a), floats_of(b), static_cast<std::size_t>(a.rows),
            static_cast<std::size_t>(b.rows)};
  }

  void take_experts(const graph::ExpertsOp& op) {
    for (const graph::ExpertPair& pair : op.pairs) {
      const auto view = [&](graph::WeightId id) {
        return graph_.weights[static_cast<std::size_t>(id)].view;
      };
      tensors_[name_of(op.matrix(pair.of))].pairs.push_back(pair_of(view(pair.a), view(pair.b)));
    }
  }

  const graph::Graph& graph_;
  const formats::QuernFile& file_;
  std::map<std::string, TensorView> views_;
  std::set<std::string> done_;
  BakedTensors tensors_;
};

}  // namespace

void BakedTensor::apply(std::int64_t row, std::span<float> weights) const {
  const auto at = static_cast<std::size_t>(row);
  if (!values.empty()) weights.front() = values[at];
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
