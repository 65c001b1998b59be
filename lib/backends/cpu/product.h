/// \file
/// One matrix product as steps divide it: by panels of 16 rows of the weight.
#pragma once

#include "backends/cpu/lowering.h"
#include "backends/cpu/observe.h"
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
    bool has_rows_of(const Part& other) const noexcept {
      return row == other.row && end_row == other.end_row;
    }
  };

  /// How a step of many rows deals out a product: parts of some panels with all rows, then the last
  /// ones, and all where they are few, cut by rows, so that threads come to the end together.
  class Deal {
   public:
    Deal(const Product& product, std::int64_t panels_at_once, std::int64_t rows, int threads)
        : panels_(product.panels()),
          panels_at_once_(panels_at_once),
          rows_(rows),
          whole_(ceil_div(panels_, panels_at_once)) {
      constexpr std::int64_t kLeastRows = 32, kLastPieces = 4;
      constexpr std::int64_t kRowStep = 2 * kernels::kRowTile;  // Whole lines in every packing.
      const std::int64_t parts = whole_, least = 2 * threads;
      const std::int64_t wanted = parts < least ? ceil_div(least, parts) : kLastPieces;
      const std::int64_t pieces = std::min(wanted, rows / kLeastRows);
      if (threads == 1 || pieces < 2) return;
      whole_ = parts < least ? 0 : parts - threads;
      rows_at_once_ = ceil_div(ceil_div(rows, kRowStep), pieces) * kRowStep;
      pieces_ = ceil_div(rows, rows_at_once_);
    }
    std::int64_t count() const noexcept {
      return whole_ + (ceil_div(panels_, panels_at_once_) - whole_) * pieces_;
    }
    Part part(std::int64_t i) const noexcept {
      const std::int64_t cut = std::max<std::int64_t>(i - whole_, 0);
      const std::int64_t panel = (std::min(i, whole_) + cut / pieces_) * panels_at_once_;
      const std::int64_t end_panel = std::min(panel + panels_at_once_, panels_);
      if (i < whole_) return {panel, end_panel, 0, rows_};
      const std::int64_t row = cut % pieces_ * rows_at_once_;
      return {panel, end_panel, row, std::min(row + rows_at_once_, rows_)};
    }

   private:
    std::int64_t panels_, panels_at_once_, rows_;
    std::int64_t whole_;                          ///< Parts that have all rows.
    std::int64_t rows_at_once_ = 0, pieces_ = 1;  ///< Of the others.
  };

  /// \param y the part's first number; rows follow `stride` floats apart.
  /// \param same_rows see LinearArgs.
  void multiply(const StepContext& context, const Part& part, float* y, std::int64_t stride,
                bool accumulate, bool same_rows) const {
    const std::int64_t first = part.panel * kernels::kPanelRows;
    context.kernels.linear[static_cast<std::size_t>(weight.encoding)](
        {weight.data + part.panel * panel_size, weight.rows - first, weight.cols, 0,
         part.end_panel - part.panel, context.bytes(packed) + part.row * row_size,
         part.end_row - part.row, bias == nullptr ? nullptr : bias + first, y, stride, accumulate,
         context.scratch, same_rows});
  }
};

/// Whether the kernels multiply with a weight's encoding.
inline bool has_product(const Lowering& lowering, const graph::Weight& weight) {
  const auto slot = static_cast<std::size_t>(weight.view.encoding);
  return find_encoding(weight.view.encoding) != nullptr && slot < kernels::kEncodingSlots &&
         lowering.kernels().linear[slot] != nullptr;
}

/// The product that makes `value`, where the op `Reader` alone reads it and may as well do it;
/// nullptr: it has a step of its own.
template <class Reader>
const graph::LinearOp* product_for(const Lowering& lowering, graph::ValueId value) {
  const graph::Node* node = lowering.producer(value);
  if (node == nullptr || lowering.only_reader<Reader>(value) == nullptr) return nullptr;
  const auto* linear = std::get_if<graph::LinearOp>(&node->op);
  if (linear == nullptr || linear->residual != graph::kNone || lowering.options().fast)
    return nullptr;
  const graph::Weight& weight = lowering.weight(linear->weight);
  return has_product(lowering, weight) && !is_observed(lowering, weight) ? linear : nullptr;
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
