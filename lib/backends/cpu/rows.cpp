// Ops that move rows: selection, pooling.
#include <algorithm>
#include <cstring>

#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// Copies the rows whose output was asked for.
class SelectRowsStep final : public Step {
 public:
  SelectRowsStep(BufferId x, BufferId out, std::int64_t cols) : x_(x), out_(out), cols_(cols) {}

  void run(const StepContext& context) const override {
    for (std::int64_t i = context.row_begin; i < context.row_end; ++i) {
      const std::int64_t row = context.step.output_rows[static_cast<std::size_t>(i)];
      std::memcpy(context.floats(out_) + i * cols_, context.floats(x_) + row * cols_,
                  static_cast<std::size_t>(cols_) * sizeof(float));
    }
  }

 private:
  BufferId x_, out_;
  std::int64_t cols_;
};

/// Copies rows that came with the step.
class InputStep final : public Step {
 public:
  InputStep(const graph::InputOp& op, BufferId out) : op_(op), out_(out) {}

  void run(const StepContext& context) const override {
    const std::span<const float> rows = context.step.inputs[static_cast<std::size_t>(op_.number)];
    const std::int64_t at = context.row_begin * op_.cols;
    std::memcpy(
        context.floats(out_) + at, rows.data() + at,
        static_cast<std::size_t>((context.row_end - context.row_begin) * op_.cols) * sizeof(float));
  }

 private:
  graph::InputOp op_;
  BufferId out_;
};

/// One row per sequence. The mean adds rows in their order, then multiplies by 1/n.
class PoolStep final : public Step {
 public:
  PoolStep(BufferId x, BufferId out, std::int64_t cols, graph::Pooling pooling)
      : x_(x), out_(out), cols_(cols), pooling_(pooling) {}

  void run(const StepContext& context) const override {
    const auto& starts = context.step.starts;
    for (auto i = static_cast<std::size_t>(context.row_begin);
         i < static_cast<std::size_t>(context.row_end); ++i) {
      const std::int64_t first = starts[i];
      const std::int64_t last = i + 1 < starts.size() ? starts[i + 1] : context.rows();
      float* out = context.floats(out_) + static_cast<std::int64_t>(i) * cols_;
      const bool takes_last = pooling_ == graph::Pooling::kLast;
      const float* x = context.floats(x_) + (takes_last ? last - 1 : first) * cols_;
      std::memcpy(out, x, static_cast<std::size_t>(cols_) * sizeof(float));
      if (pooling_ != graph::Pooling::kMean) continue;
      for (std::int64_t row = 1; row < last - first; ++row)
        context.kernels.add(out, x + row * cols_, cols_, out);
      context.kernels.scale(out, 1.0F / static_cast<float>(last - first), cols_, out);
    }
  }

 private:
  BufferId x_, out_;
  std::int64_t cols_;
  graph::Pooling pooling_;
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::SelectRowsOp& op, graph::ValueId out) {
  const graph::ValueId x = op.x;
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<SelectRowsStep>(lowering.buffer(x), id, lowering.value(x).cols),
               {Split::kOutputs, {lowering.buffer(x)}, {id}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::InputOp& input, graph::ValueId out) {
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<InputStep>(input, id), {Split::kRows, {}, {id}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::PoolOp& pool, graph::ValueId out) {
  const BufferId x = lowering.buffer(pool.x);
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<PoolStep>(x, id, lowering.value(pool.x).cols, pool.pooling),
               {Split::kSequences, {x}, {id}});
  return {};
}

}  // namespace quern::backends::cpu
