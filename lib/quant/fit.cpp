#include "quant/fit.h"

namespace quern::quant {

std::vector<float> column_weights(std::int64_t cols, std::int64_t padded,
                                  const QuantizeHints& hints) {
  std::vector<float> weight(static_cast<std::size_t>(padded), 0.0f);
  const auto end = weight.begin() + cols;
  if (hints.column_weight != nullptr) {
    std::transform(hints.column_weight, hints.column_weight + cols, weight.begin(),
                   [](float w) { return std::isfinite(w) && w > 0 ? w : 0.0f; });
  }
  const float largest = cols == 0 ? 0.0f : *std::max_element(weight.begin(), end);
  if (!(largest > 0)) {
    std::fill(weight.begin(), end, 1.0f);
    return weight;
  }
  // A floor keeps the fit of a group defined whose columns never saw an input.
  std::transform(weight.begin(), end, weight.begin(),
                 [largest](float w) { return std::max(w / largest, 1e-6f); });
  return weight;
}

}  // namespace quern::quant
