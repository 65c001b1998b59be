/// \file
/// One matrix product as steps divide it: by panels of 16 rows of the weight.
#pragma once

#include "backends/cpu/lowering.h"
#include "quant/tensor_view.h"

namespace quern::backends::cpu {

struct Product {
  quant::TensorView weight;
  const float* bias;  ///< Per row of the weight, or nullptr.
  BufferId packed;    ///< The rows that are multiplied.

  std::int64_t panels() const noexcept {
    return (weight.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
  }
  std::int64_t panel_size() const noexcept {
    return static_cast<std::int64_t>(
        panel_bytes(*find_encoding(weight.encoding), static_cast<std::uint64_t>(weight.cols))
            .value_or(0));
  }
  /// Panels of a part that threads take: some for each, of pairs, which kernels like to read
  /// together.
  std::int64_t panels_at_once(int threads) const noexcept {
    constexpr std::int64_t kPartsOfThread = 8;
    return std::max<std::int64_t>(panels() / (threads * kPartsOfThread) / 2 * 2, 2);
  }
  /// What a thread reads where shares are fixed.
  std::span<const std::byte> share(int thread, int threads) const noexcept {
    const auto [begin, end] = share_of(panels(), thread, threads);
    return {weight.data + begin * panel_size(),
            static_cast<std::size_t>((end - begin) * panel_size())};
  }

  /// Columns of panels [begin, end) for n rows.
  /// \param y the first row's first of these columns; rows follow `stride` floats apart.
  void multiply(const StepContext& context, std::int64_t begin, std::int64_t end, std::int64_t n,
                float* y, std::int64_t stride, bool accumulate) const {
    const std::int64_t first = begin * kernels::kPanelRows;
    context.kernels.linear[static_cast<std::size_t>(weight.encoding)](
        {weight.data + begin * panel_size(), weight.rows - first, weight.cols, 0, end - begin,
         context.bytes(packed), n, bias == nullptr ? nullptr : bias + first, y, stride, accumulate,
         context.scratch});
  }
};

/// Whether the kernels multiply with a weight's encoding.
inline bool has_product(const Lowering& lowering, const graph::Weight& weight) {
  const auto slot = static_cast<std::size_t>(weight.view.encoding);
  return find_encoding(weight.view.encoding) != nullptr && slot < kernels::kEncodingSlots &&
         lowering.kernels().linear[slot] != nullptr;
}

/// The product of an op for which has_product() holds; its rows are packed if they are not yet.
inline Product product_of(Lowering& lowering, const graph::LinearOp& linear) {
  const quant::TensorView& weight = lowering.weight(linear.weight).view;
  const float* bias =
      linear.bias == graph::kNone ? nullptr : lowering.weight(linear.bias).view.f32();
  return {weight, bias, lowering.packed(linear.x, find_encoding(weight.encoding)->rows)};
}

}  // namespace quern::backends::cpu
