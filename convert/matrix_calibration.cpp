#include "convert/matrix_calibration.h"

#include "quant/registry.h"

namespace quern::convert {

OutputSquares ColumnWeights::quantize_panel(Encoding to, const float* rows16, std::int64_t cols,
                                            std::byte* panel) const {
  const quant::EncodingOps& ops = *quant::find_ops(to);
  ops.quantize_panel(rows16, cols, {weights_.data()}, panel);
  std::vector<float> stored(static_cast<std::size_t>(quant::kPanelRows * cols));
  ops.dequantize_panel(panel, cols, stored.data());
  OutputSquares sum;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const auto weight = static_cast<double>(weights_[i % static_cast<std::size_t>(cols)]);
    const auto was = static_cast<double>(rows16[i]), is = static_cast<double>(stored[i]);
    sum.square += weight * was * was;
    sum.error += weight * (was - is) * (was - is);
  }
  return sum;
}

}  // namespace quern::convert
