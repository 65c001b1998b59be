#include <algorithm>
#include <cstring>

#include "backends/cpu/column_tail.h"
#include "backends/cpu/observe.h"
#include "backends/cpu/ops.h"
#if defined(QUERN_WITH_ONEDNN)
#include "backends/cpu/fast_linear.h"
#endif
#include "backends/cpu/unsupported.h"

namespace quern::backends::cpu {
namespace {

/// One matrix product; threads take ranges of weight panels and all rows, or some of the rows where
/// there are few panels. In steps of few rows the ranges are fixed, so that each thread knows what
/// it will read next.
class LinearStep final : public Step {
 public:
  struct Buffers {
    BufferId packed, residual, out;  ///< residual −1: none; it may lie where out lies.
  };
  LinearStep(const quant::TensorView& weight, const float* bias, Buffers buffers, RowKind rows,
             std::unique_ptr<const ColumnTail> tail)
      : weight_(weight), bias_(bias), buffers_(buffers), rows_(rows), tail_(std::move(tail)) {}

  std::span<const std::byte> weights(int thread, int threads) const override {
    const auto [begin, end] = share_of(panels(), thread, threads);
    const EncodingInfo* info = find_encoding(weight_.encoding);
    const auto bytes = static_cast<std::int64_t>(
        panel_bytes(*info, static_cast<std::uint64_t>(weight_.cols)).value_or(0));
    return {weight_.data + begin * bytes, static_cast<std::size_t>((end - begin) * bytes)};
  }

  void run(const StepContext& context) const override {
    if (context.count(rows_) == 0) return;
    const std::int64_t rows = context.count(rows_), at_once = panels_at_once(context.threads);
    const std::int64_t parts = row_parts(context, (panels() + at_once - 1) / at_once, rows);
    if (parts > 1) return run_parts(context, at_once, parts, rows);
    context.hand_out(panels(), at_once, [&](std::int64_t begin, std::int64_t end) {
      multiply(context, {begin, end, 0, rows});
    });
  }

 private:
  std::int64_t panels() const noexcept {
    return (weight_.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
  }

  /// Some parts for each thread, of pairs of panels, which kernels like to read together.
  std::int64_t panels_at_once(int threads) const noexcept {
    constexpr std::int64_t kPartsOfThread = 8;
    return std::max<std::int64_t>(panels() / (threads * kPartsOfThread) / 2 * 2, 2);
  }

  /// What is done at once: panels [panel, end_panel) times rows [row, end_row).
  struct Part {
    std::int64_t panel, end_panel, row, end_row;
  };
  /// Rows of which so many begin with whole lines of memory in every packing.
  static constexpr std::int64_t kRowStep = 16;

  /// Into how many parts the rows are cut so that every thread has some; 1 where panels suffice.
  std::int64_t row_parts(const StepContext& context, std::int64_t panel_parts,
                         std::int64_t rows) const noexcept {
    constexpr std::int64_t kLeastRows = 32;
    if (tail_ || context.next_item == nullptr || panel_parts >= 2 * context.threads) return 1;
    const std::int64_t wanted = (2 * context.threads + panel_parts - 1) / panel_parts;
    return context.threads == 1 ? 1 : std::min(wanted, rows / kLeastRows);
  }

  void run_parts(const StepContext& context, std::int64_t panels_at_once, std::int64_t parts,
                 std::int64_t rows) const {
    const std::int64_t steps = (rows + kRowStep - 1) / kRowStep;
    const std::int64_t rows_at_once = (steps + parts - 1) / parts * kRowStep;
    const std::int64_t row_parts = (rows + rows_at_once - 1) / rows_at_once;
    const std::int64_t panel_parts = (panels() + panels_at_once - 1) / panels_at_once;
    context.hand_out(panel_parts * row_parts, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t panel = i / row_parts * panels_at_once;
        const std::int64_t row = i % row_parts * rows_at_once;
        multiply(context, {panel, std::min(panel + panels_at_once, panels()), row,
                           std::min(row + rows_at_once, rows)});
      }
    });
  }

  void multiply(const StepContext& context, const Part& part) const {
    if (buffers_.residual >= 0 && context.floats(buffers_.residual) != context.floats(buffers_.out))
      copy_residual(context, part);
    const std::int64_t step_bytes =
        kernels::packed_rows_bytes(find_encoding(weight_.encoding)->rows, kRowStep, weight_.cols);
    context.kernels.linear[static_cast<std::size_t>(weight_.encoding)](
        {weight_.data, weight_.rows, weight_.cols, part.panel, part.end_panel,
         context.bytes(buffers_.packed) + part.row / kRowStep * step_bytes, part.end_row - part.row,
         bias_, context.floats(buffers_.out) + part.row * weight_.rows, weight_.rows,
         buffers_.residual >= 0, context.scratch});
    if (tail_) {
      tail_->run(context, part.panel * kernels::kPanelRows,
                 std::min(part.end_panel * kernels::kPanelRows, weight_.rows));
    }
  }

  void copy_residual(const StepContext& context, const Part& part) const {
    const std::int64_t first = part.panel * kernels::kPanelRows;
    const std::int64_t last = std::min(part.end_panel * kernels::kPanelRows, weight_.rows);
    for (std::int64_t row = part.row; row < part.end_row; ++row) {
      const std::int64_t at = row * weight_.rows + first;
      std::memcpy(context.floats(buffers_.out) + at, context.floats(buffers_.residual) + at,
                  static_cast<std::size_t>(last - first) * sizeof(float));
    }
  }

  quant::TensorView weight_;
  const float* bias_;
  Buffers buffers_;
  RowKind rows_;
  std::unique_ptr<const ColumnTail> tail_;
};

bool is_fast(const Lowering& lowering, Encoding encoding) {
#if defined(QUERN_WITH_ONEDNN)
  return lowering.options().fast && has_fast_linear(encoding);
#else
  static_cast<void>(lowering), static_cast<void>(encoding);
  return false;
#endif
}

}  // namespace

Status lower_linear(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& linear = *std::get_if<graph::LinearOp>(&op);
  const graph::Weight& weight = lowering.weight(linear.weight);
  const EncodingInfo* info = find_encoding(weight.view.encoding);
  const auto slot = static_cast<std::size_t>(weight.view.encoding);
  if (info == nullptr || slot >= kernels::kEncodingSlots ||
      lowering.kernels().linear[slot] == nullptr) {
    return unsupported_encoding("linear", weight);
  }
  if (is_observed(lowering, weight)) {
    observe_rows(lowering, weight, linear.x);
    // Of a graph that was cut for its observer, the last product is for nobody.
    if (!lowering.is_read(out)) return {};
  }
  const BufferId packed = lowering.packed(linear.x, info->rows);
  const bool adds = linear.residual != graph::kNone;
  const BufferId result = adds ? lowering.reuse(out, linear.residual) : lowering.allocate(out);
  const BufferId residual = adds ? lowering.buffer(linear.residual) : BufferId{-1};
  StepInfo step{Split::kOther,
                {packed},
                {result},
                kernels::linear_scratch_bytes(weight.view.encoding, weight.view.cols)};
  if (adds) step.reads.push_back(residual);
  TakenTail taken;
  if (!is_fast(lowering, weight.view.encoding)) taken = take_convolution(lowering, out);
  if (taken.tail) {
    step.writes.push_back(taken.out);
    step.kind = "linear_conv";
  }
  const float* bias =
      linear.bias == graph::kNone ? nullptr : lowering.weight(linear.bias).view.f32();
  std::unique_ptr<Step> product =
      std::make_unique<LinearStep>(weight.view, bias, LinearStep::Buffers{packed, residual, result},
                                   RowKind(lowering.value(out)), std::move(taken.tail));
#if defined(QUERN_WITH_ONEDNN)
  if (is_fast(lowering, weight.view.encoding)) {
    const BufferId x = lowering.buffer(linear.x);
    QUERN_TRY(fast, make_fast_linear(lowering, linear, x, result, residual, std::move(product),
                                     step.scratch_bytes));
    product = std::move(fast);
    step.reads.push_back(x);
  }
#endif
  lowering.add(std::move(product), std::move(step));
  return {};
}

}  // namespace quern::backends::cpu
