#include "runtime/adapter_scales.h"

#include <cstring>

#include "graph/adapter_scales.h"
#include "graph/builder.h"

namespace quern::runtime {

std::string_view scale_suffix(std::string_view name) noexcept {
  for (const std::string_view suffix :
       {graph::kProductScale, graph::kOutputScale, graph::kInputScale})
    if (name.ends_with(suffix)) return suffix;
  return {};
}

void AdapterScales::add(const std::string& name, const formats::TensorEntry& entry, float weight) {
  const bool adds_up = scale_suffix(name) == graph::kProductScale;
  std::vector<float>& sum = factors_[name];
  sum.resize(entry.data.size() / sizeof(float), 1.0F);
  for (std::size_t i = 0; i < sum.size(); ++i) {
    float factor = 0;
    std::memcpy(&factor, entry.data.data() + i * sizeof(float), sizeof(float));
    const float change = weight * (factor - 1.0F);
    sum[i] = adds_up ? sum[i] + change : sum[i] * (1.0F + change);
  }
}

Status AdapterScales::publish(ExtraTensors& extra) {
  for (const auto& [name, factors] : factors_) {
    const std::string_view suffix = scale_suffix(name);
    const std::string matrix = name.substr(0, name.size() - suffix.size());
    const bool paired = extra.find(graph::adapter_weight(matrix, 0, false)) != extra.end();
    if (paired && suffix != graph::kProductScale)
      return Error(ErrorCode::kUnsupported,
                   "a low-rank adapter and one of factors (IA3) cannot change the same matrix")
          .of(matrix);
    const auto whole = extra.find(matrix);
    if (whole != extra.end() && suffix == graph::kProductScale)
      return Error(ErrorCode::kUnsupported,
                   "an adapter of factors for a product (DoRA) and one that replaces the matrix do "
                   "not go together")
          .of(matrix);
    quant::TensorView view;
    view.rows = 1;
    view.cols = static_cast<std::int64_t>(factors.size());
    view.data = reinterpret_cast<const std::byte*>(factors.data());
    extra[name] = view;
  }
  return {};
}

}  // namespace quern::runtime
