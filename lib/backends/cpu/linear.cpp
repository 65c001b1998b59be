#include <algorithm>
#include <cstring>

#include "backends/cpu/observe.h"
#include "backends/cpu/ops.h"
#if defined(QUERN_WITH_ONEDNN)
#include "backends/cpu/fast_linear.h"
#endif
#include "backends/cpu/unsupported.h"

namespace quern::backends::cpu {
namespace {

/// One matrix product; threads take ranges of weight panels and all rows. In steps of few rows the
/// ranges are fixed, so that each thread knows what it will read next.
class LinearStep final : public Step {
 public:
  struct Buffers {
    BufferId packed, residual, out;  ///< residual −1: none; it may lie where out lies.
  };
  LinearStep(const quant::TensorView& weight, const float* bias, Buffers buffers, RowKind rows)
      : weight_(weight), bias_(bias), buffers_(buffers), rows_(rows) {}

  std::span<const std::byte> weights(int thread, int threads) const override {
    const auto [begin, end] = share_of(panels(), thread, threads);
    const EncodingInfo* info = find_encoding(weight_.encoding);
    const auto bytes = static_cast<std::int64_t>(
        panel_bytes(*info, static_cast<std::uint64_t>(weight_.cols)).value_or(0));
    return {weight_.data + begin * bytes, static_cast<std::size_t>((end - begin) * bytes)};
  }

  void run(const StepContext& context) const override {
    if (context.count(rows_) == 0) return;
    context.hand_out(panels(), panels_at_once(context.threads),
                     [&](std::int64_t begin, std::int64_t end) { multiply(context, begin, end); });
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

  void multiply(const StepContext& context, std::int64_t begin, std::int64_t end) const {
    const std::int64_t n = context.count(rows_);
    if (buffers_.residual >= 0 && context.floats(buffers_.residual) != context.floats(buffers_.out))
      copy_residual(context, begin, end, n);
    context.kernels.linear[static_cast<std::size_t>(weight_.encoding)](
        {weight_.data, weight_.rows, weight_.cols, begin, end, context.bytes(buffers_.packed), n,
         bias_, context.floats(buffers_.out), weight_.rows, buffers_.residual >= 0,
         context.scratch});
  }

  void copy_residual(const StepContext& context, std::int64_t begin, std::int64_t end,
                     std::int64_t n) const {
    const std::int64_t first = begin * kernels::kPanelRows;
    const std::int64_t last = std::min(end * kernels::kPanelRows, weight_.rows);
    for (std::int64_t row = 0; row < n; ++row) {
      const std::int64_t at = row * weight_.rows + first;
      std::memcpy(context.floats(buffers_.out) + at, context.floats(buffers_.residual) + at,
                  static_cast<std::size_t>(last - first) * sizeof(float));
    }
  }

  quant::TensorView weight_;
  const float* bias_;
  Buffers buffers_;
  RowKind rows_;
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::LinearOp& linear, graph::ValueId out) {
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
  const float* bias =
      linear.bias == graph::kNone ? nullptr : lowering.weight(linear.bias).view.f32();
  std::unique_ptr<Step> product =
      std::make_unique<LinearStep>(weight.view, bias, LinearStep::Buffers{packed, residual, result},
                                   RowKind(lowering.value(out)));
#if defined(QUERN_WITH_ONEDNN)
  if (lowering.options().fast && has_fast_linear(weight.view.encoding)) {
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
