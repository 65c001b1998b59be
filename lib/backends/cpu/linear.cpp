#include <algorithm>
#include <cstring>

#include "backends/cpu/gated_linear.h"
#include "backends/cpu/observe.h"
#include "backends/cpu/ops.h"
#include "backends/cpu/product.h"
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
  /// \param residual −1: none; it may lie where out lies.
  LinearStep(const Product& product, BufferId residual, BufferId out, RowKind rows)
      : product_(product), residual_(residual), out_(out), rows_(rows) {}

  std::array<std::span<const std::byte>, 2> weights(int thread, int threads) const override {
    return {product_.share(thread, threads)};
  }

  void run(const StepContext& context) const override {
    if (context.count(rows_) == 0) return;
    context.hand_out(product_.panels(), product_.panels_at_once(context.threads),
                     [&](std::int64_t begin, std::int64_t end) { multiply(context, begin, end); });
  }

 private:
  void multiply(const StepContext& context, std::int64_t begin, std::int64_t end) const {
    const std::int64_t n = context.count(rows_), stride = product_.weight.rows;
    if (residual_ >= 0 && context.floats(residual_) != context.floats(out_))
      copy_residual(context, begin, end, n);
    product_.multiply(context, begin, end, n, context.floats(out_) + begin * kernels::kPanelRows,
                      stride, residual_ >= 0);
  }

  void copy_residual(const StepContext& context, std::int64_t begin, std::int64_t end,
                     std::int64_t n) const {
    const std::int64_t width = product_.weight.rows, first = begin * kernels::kPanelRows;
    const std::int64_t last = std::min(end * kernels::kPanelRows, width);
    for (std::int64_t row = 0; row < n; ++row) {
      const std::int64_t at = row * width + first;
      std::memcpy(context.floats(out_) + at, context.floats(residual_) + at,
                  static_cast<std::size_t>(last - first) * sizeof(float));
    }
  }

  Product product_;
  BufferId residual_, out_;
  RowKind rows_;
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::LinearOp& linear, graph::ValueId out) {
  const graph::Weight& weight = lowering.weight(linear.weight);
  if (!has_product(lowering, weight)) return unsupported_encoding("linear", weight);
  if (is_of_gated_linear(lowering, out)) return {};
  if (is_observed(lowering, weight)) {
    observe_rows(lowering, weight, linear.x);
    // Of a graph that was cut for its observer, the last product is for nobody.
    if (!lowering.is_read(out)) return {};
  }
  const Product multiplied = product_of(lowering, linear);
  const bool adds = linear.residual != graph::kNone;
  const BufferId result = adds ? lowering.reuse(out, linear.residual) : lowering.allocate(out);
  const BufferId residual = adds ? lowering.buffer(linear.residual) : BufferId{-1};
  StepInfo step{Split::kOther,
                {multiplied.packed},
                {result},
                kernels::linear_scratch_bytes(weight.view.encoding, weight.view.cols)};
  if (adds) step.reads.push_back(residual);
  std::unique_ptr<Step> product =
      std::make_unique<LinearStep>(multiplied, residual, result, RowKind(lowering.value(out)));
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
