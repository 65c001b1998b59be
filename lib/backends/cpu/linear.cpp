#include <algorithm>
#include <cstring>

#include "backends/cpu/column_tail.h"
#include "backends/cpu/gated_linear.h"
#include "backends/cpu/observe.h"
#include "backends/cpu/ops.h"
#include "backends/cpu/product.h"
#include "backends/cpu/recurrent.h"
#if defined(QUERN_WITH_ONEDNN)
#include "backends/cpu/fast_linear.h"
#endif
#include "backends/cpu/unsupported.h"

namespace quern::backends::cpu {
namespace {

/// One matrix product. In steps of few rows each thread has a range of weight panels, so that it
/// knows what it will read next; of many rows it takes what the product's deal has left.
class LinearStep final : public Step {
 public:
  /// \param residual −1: none; it may lie where out lies.
  LinearStep(const Product& product, BufferId residual, BufferId out, RowKind rows,
             std::unique_ptr<const ColumnTail> tail)
      : product_(product), residual_(residual), out_(out), rows_(rows), tail_(std::move(tail)) {}

  std::array<std::span<const std::byte>, 2> weights(int thread, int threads) const override {
    return {product_.share(thread, threads)};
  }

  void run(const StepContext& context) const override {
    const std::int64_t rows = context.count(rows_);
    if (rows == 0) return;
    const std::int64_t at_once = product_.panels_at_once(context.threads);
    Product::Part last{};
    const auto do_part = [&](const Product::Part& part) {
      multiply(context, part, part.has_rows_of(last));
      last = part;
    };
    if (tail_ || context.next_item == nullptr) {
      return context.hand_out(product_.panels(), at_once,
                              [&](std::int64_t begin, std::int64_t end) {
                                do_part({begin, end, 0, rows});
                              });
    }
    const Product::Deal deal(product_, at_once, rows, context.threads);
    context.hand_out(deal.count(), 1, [&](std::int64_t i, std::int64_t) { do_part(deal.part(i)); });
  }

 private:
  void multiply(const StepContext& context, const Product::Part& part, bool same_rows) const {
    const std::int64_t width = product_.weight.rows, first = part.panel * kernels::kPanelRows;
    if (residual_ >= 0 && context.floats(residual_) != context.floats(out_))
      copy_residual(context, part);
    product_.multiply(context, part, context.floats(out_) + part.row * width + first, width,
                      residual_ >= 0, same_rows);
    if (tail_) tail_->run(context, first, std::min(part.end_panel * kernels::kPanelRows, width));
  }

  void copy_residual(const StepContext& context, const Product::Part& part) const {
    const std::int64_t width = product_.weight.rows, first = part.panel * kernels::kPanelRows;
    const std::int64_t last = std::min(part.end_panel * kernels::kPanelRows, width);
    for (std::int64_t row = part.row; row < part.end_row; ++row) {
      const std::int64_t at = row * width + first;
      std::memcpy(context.floats(out_) + at, context.floats(residual_) + at,
                  static_cast<std::size_t>(last - first) * sizeof(float));
    }
  }

  Product product_;
  BufferId residual_, out_;
  RowKind rows_;
  std::unique_ptr<const ColumnTail> tail_;
};

/// A product by so few weights that every thread multiplies some rows, or all few, by all of them:
/// what stands before and after it is then done with the rows at hand, without a wait.
class RowProductStep final : public Step {
 public:
  RowProductStep(const Product& product, BufferId out) : product_(product), out_(out) {}

  std::array<std::span<const std::byte>, 2> weights(int, int) const override {
    return {product_.share(0, 1)};
  }
  void run(const StepContext& context) const override {
    const std::int64_t width = product_.weight.rows;
    product_.multiply(context, {0, product_.panels(), context.row_begin, context.row_end},
                      context.floats(out_) + context.row_begin * width, width, false, false);
  }

 private:
  Product product_;
  BufferId out_;
};

/// Whether a product goes by rows: its weights stay in the second-level cache and are multiplied as
/// they stand, a byte or more each, so that few rows at once cost no more than many.
bool goes_by_rows(const Product& product) {
  constexpr std::int64_t kMostBytes = 131072;
  return product.panel_size >= kernels::kPanelRows * product.weight.cols &&
         product.panels() * product.panel_size <= kMostBytes;
}

bool is_fast(const Lowering& lowering, Encoding encoding) {
#if defined(QUERN_WITH_ONEDNN)
  return lowering.options().fast && has_fast_linear(encoding);
#else
  static_cast<void>(lowering), static_cast<void>(encoding);
  return false;
#endif
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::LinearOp& linear, graph::ValueId out) {
  const graph::Weight& weight = lowering.weight(linear.weight);
  if (!has_product(lowering, weight)) return unsupported_encoding("linear", weight);
  if (is_of_gated_linear(lowering, out) || is_of_scan(lowering, out)) return {};
  if (is_observed(lowering, weight)) {
    observe_rows(lowering, weight, linear.x);
    // Of a graph that was cut for its observer, the last product is for nobody.
    if (!lowering.is_read(out)) return {};
  }
  const Product multiplied = product_of(lowering, linear);
  const bool adds = linear.residual != graph::kNone;
  const BufferId result = adds ? lowering.reuse(out, linear.residual) : lowering.allocate(out);
  const BufferId residual = adds ? lowering.buffer(linear.residual) : BufferId{-1};
  const auto scratch = kernels::linear_scratch_bytes(weight.view.encoding, weight.view.cols);
  StepInfo step{Split::kOther, {multiplied.packed}, {result}, scratch};
  if (adds) step.reads.push_back(residual);
  if (!adds && goes_by_rows(multiplied) && !is_fast(lowering, weight.view.encoding) &&
      lowering.only_reader<graph::CausalConvOp>(out) == nullptr) {
    StepInfo by_rows = by_rows_of(lowering.value(out), step.reads, step.writes);
    by_rows.scratch_bytes = scratch;
    // One panel cannot be shared; several are where rows are few.
    if (multiplied.panels() > 1) by_rows.when = When::kMany;
    lowering.add(std::make_unique<RowProductStep>(multiplied, result), std::move(by_rows));
    if (multiplied.panels() == 1) return {};
    step.when = When::kFew;
  }
  TakenTail taken;
  if (!is_fast(lowering, weight.view.encoding)) taken = take_convolution(lowering, out);
  if (taken.tail) {
    step.writes.push_back(taken.out);
    step.kind = "linear_conv";
  }
  std::unique_ptr<Step> product = std::make_unique<LinearStep>(
      multiplied, residual, result, RowKind(lowering.value(out)), std::move(taken.tail));
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
