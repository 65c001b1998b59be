/// \file
/// One matrix product as steps divide it: by panels of 16 rows of the weight.
#pragma once

#include "backends/cpu/lowering.h"
#include "quant/tensor_view.h"

namespace quern::backends::cpu {

struct Product {
  quant::TensorView weight;
  const float* bias;                  ///< Per row of the weight, or nullptr.
  BufferId packed;                    ///< The rows that are multiplied.
  std::int64_t panel_size, row_size;  ///< Bytes of a panel, and of a packed row.

  std::int64_t panels() const noexcept { return ceil_div(weight.rows, kernels::kPanelRows); }
  /// Panels of a part that threads take: some for each, of pairs, which kernels like to read
  /// together.
  std::int64_t panels_at_once(int threads) const noexcept {
    constexpr std::int64_t kPartsOfThread = 8;
    return std::max<std::int64_t>(panels() / (threads * kPartsOfThread) / 2 * 2, 2);
  }
  /// What a thread reads where shares are fixed.
  std::span<const std::byte> share(int thread, int threads) const noexcept {
    const auto [begin, end] = share_of(panels(), thread, threads);
    return {weight.data + begin * panel_size, static_cast<std::size_t>((end - begin) * panel_size)};
  }

  /// What is done at once: panels [panel, end_panel) times rows [row, end_row). `row` is a multiple
  /// of kRowTile.
  struct Part {
    std::int64_t panel, end_panel, row, end_row;
  };

  /// \param y the part's first number; rows follow `stride` floats apart.
  void multiply(const StepContext& context, const Part& part, float* y, std::int64_t stride,
                bool accumulate) const {
    const std::int64_t first = part.panel * kernels::kPanelRows;
    context.kernels.linear[static_cast<std::size_t>(weight.encoding)](
        {weight.data + part.panel * panel_size, weight.rows - first, weight.cols, 0,
         part.end_panel - part.panel, context.bytes(packed) + part.row * row_size,
         part.end_row - part.row, bias == nullptr ? nullptr : bias + first, y, stride, accumulate,
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
  const EncodingInfo& info = *find_encoding(weight.encoding);
  const auto panel = panel_bytes(info, static_cast<std::uint64_t>(weight.cols)).value_or(0);
  return {weight, bias, lowering.packed(linear.x, info.rows), static_cast<std::int64_t>(panel),
          packed_row_bytes(info.rows, weight.cols)};
}

}  // namespace quern::backends::cpu
