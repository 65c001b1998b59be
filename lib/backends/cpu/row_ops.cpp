// Ops that make each row of their result from the same rows of their inputs.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// Calls `Function(context, row)` for every row of this thread.
template <class Function>
class RowStep final : public Step {
 public:
  explicit RowStep(Function function) : function_(std::move(function)) {}

  void run(const StepContext& context) const override {
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row)
      function_(context, row);
  }

 private:
  Function function_;
};

template <class Function>
void add_row_step(Lowering& lowering, graph::ValueId out, std::vector<BufferId> reads,
                  BufferId result, Function function) {
  lowering.add(std::make_unique<RowStep<Function>>(std::move(function)),
               by_rows_of(lowering.value(out), std::move(reads), {result}));
}

std::size_t row_bytes(std::int64_t cols) { return static_cast<std::size_t>(cols) * sizeof(float); }

}  // namespace

Status lower_op(Lowering& lowering, const graph::ScaleRowsOp& scale, graph::ValueId out) {
  const std::int64_t cols = lowering.value(out).cols;
  const BufferId y = lowering.reuse(out, scale.x);
  const BufferId x = lowering.buffer(scale.x), factor = lowering.buffer(scale.factor);
  add_row_step(lowering, out, {x, factor}, y, [=](const StepContext& context, std::int64_t row) {
    context.kernels.scale(context.floats(x) + row * cols, context.floats(factor)[row], cols,
                          context.floats(y) + row * cols);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::ScaleColumnsOp& scale, graph::ValueId out) {
  const std::int64_t cols = lowering.value(out).cols;
  const float* weight = lowering.weight(scale.weight).view.f32();
  const BufferId y = lowering.reuse(out, scale.x);
  const BufferId x = lowering.buffer(scale.x);
  add_row_step(lowering, out, {x}, y, [=](const StepContext& context, std::int64_t row) {
    context.kernels.mul(context.floats(x) + row * cols, weight, cols,
                        context.floats(y) + row * cols);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::ColumnsOp& part, graph::ValueId out) {
  const std::int64_t cols = part.cols, first = part.first, all = lowering.value(part.x).cols;
  const BufferId x = lowering.buffer(part.x), y = lowering.allocate(out);
  add_row_step(lowering, out, {x}, y, [=](const StepContext& context, std::int64_t row) {
    std::memcpy(context.floats(y) + row * cols, context.floats(x) + row * all + first,
                row_bytes(cols));
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::MixOp& mix, graph::ValueId out) {
  const std::int64_t cols = lowering.value(out).cols, n_factors = lowering.value(mix.factors).cols;
  // All of a row's numbers are read before the first is written, if one call takes all that is
  // mixed in.
  constexpr std::size_t kAtOnce = 8;
  const BufferId y =
      mix.xs.size() <= kAtOnce ? lowering.reuse(out, mix.base) : lowering.allocate(out);
  const BufferId base = lowering.buffer(mix.base), factors = lowering.buffer(mix.factors);
  std::vector<BufferId> xs;
  for (const graph::ValueId x : mix.xs) xs.push_back(lowering.buffer(x));
  std::vector<BufferId> reads = xs;
  reads.insert(reads.end(), {base, factors});
  const float offset = mix.offset;
  const std::int64_t first = mix.first;
  add_row_step(lowering, out, std::move(reads), y,
               [=, xs = std::move(xs)](const StepContext& context, std::int64_t row) {
                 const float* from[kAtOnce];
                 float weight[kAtOnce];
                 const float* factor = context.floats(factors) + row * n_factors + first;
                 float* to = context.floats(y) + row * cols;
                 const float* sum = context.floats(base) + row * cols;
                 for (std::size_t j = 0; j < xs.size(); j += kAtOnce, sum = to) {
                   const std::size_t count = std::min(kAtOnce, xs.size() - j);
                   for (std::size_t i = 0; i < count; ++i) {
                     from[i] = context.floats(xs[j + i]) + row * cols;
                     weight[i] = factor[j + i] + offset;
                   }
                   context.kernels.mix(sum, from, weight, static_cast<std::int64_t>(count), cols,
                                       to);
                 }
               });
  return {};
}

Status lower_op(Lowering& lowering, const graph::MatchMagnitudeOp& match, graph::ValueId out) {
  const std::int64_t cols = lowering.value(out).cols;
  const float floor = match.floor;
  const BufferId y = lowering.reuse(out, match.x);
  const BufferId x = lowering.buffer(match.x), like = lowering.buffer(match.like);
  add_row_step(lowering, out, {x, like}, y, [=](const StepContext& context, std::int64_t row) {
    const auto mean_square = [&](BufferId id) {
      const float* from = context.floats(id) + row * cols;
      return context.kernels.dot(from, from, cols) / static_cast<float>(cols);
    };
    const float own = mean_square(x), wanted = mean_square(like);
    const float factor = std::sqrt(wanted) / std::sqrt(own < floor ? floor : own);
    context.kernels.scale(context.floats(x) + row * cols, factor, cols,
                          context.floats(y) + row * cols);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::CutoffOp& cutoff, graph::ValueId out) {
  const std::int64_t cols = lowering.value(out).cols;
  const float deviations = cutoff.deviations;
  const BufferId y = lowering.reuse(out, cutoff.x);
  const BufferId x = lowering.buffer(cutoff.x);
  add_row_step(lowering, out, {x}, y, [=](const StepContext& context, std::int64_t row) {
    context.kernels.cutoff(context.floats(x) + row * cols, deviations, cols,
                           context.floats(y) + row * cols);
  });
  return {};
}

}  // namespace quern::backends::cpu
