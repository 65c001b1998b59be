#include "backends/cpu/gated_linear.h"
#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// Runs `Function` over this thread's rows of one or two inputs; the result may lie in an input.
/// `Function(kernels, a, b, n, out)` handles n contiguous elements.
template <class Function>
class ElementwiseStep final : public Step {
 public:
  ElementwiseStep(Function function, BufferId a, BufferId b, BufferId out,
                  const graph::Value& value)
      : function_(std::move(function)), a_(a), b_(b), out_(out), cols_(value.cols) {}

  void run(const StepContext& context) const override {
    const std::int64_t at = context.row_begin * cols_;
    function_(context.kernels, context.floats(a_) + at, context.floats(b_) + at,
              (context.row_end - context.row_begin) * cols_, context.floats(out_) + at);
  }

 private:
  Function function_;
  BufferId a_, b_, out_;
  std::int64_t cols_;
};

template <class Function>
Status lower_elementwise(Lowering& lowering, graph::ValueId a, graph::ValueId b, graph::ValueId out,
                         Function function) {
  const graph::Value& value = lowering.value(a);
  const BufferId result = lowering.reuse(out, a);
  const BufferId first = lowering.buffer(a);
  const BufferId second = lowering.buffer(b);
  lowering.add(std::make_unique<ElementwiseStep<Function>>(std::move(function), first, second,
                                                           result, value),
               by_rows_of(value, {first, second}, {result}));
  return {};
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::GluOp& glu, graph::ValueId out) {
  if (lower_gated_linear(lowering, glu, out)) return {};
  const auto kind = static_cast<std::size_t>(glu.activation);
  return lower_elementwise(lowering, glu.gate, glu.up, out,
                           [kind](const kernels::KernelTable& k, const float* gate, const float* up,
                                  std::int64_t n, float* y) { k.glu[kind](gate, up, n, y); });
}

Status lower_op(Lowering& lowering, const graph::ActivationOp& activation, graph::ValueId out) {
  const auto kind = static_cast<std::size_t>(activation.activation);
  return lower_elementwise(lowering, activation.x, activation.x, out,
                           [kind](const kernels::KernelTable& k, const float* x, const float*,
                                  std::int64_t n, float* y) { k.activation[kind](x, n, y); });
}

Status lower_op(Lowering& lowering, const graph::AddOp& add, graph::ValueId out) {
  return lower_elementwise(lowering, add.a, add.b, out,
                           [](const kernels::KernelTable& k, const float* a, const float* b,
                              std::int64_t n, float* y) { k.add(a, b, n, y); });
}

Status lower_op(Lowering& lowering, const graph::MulOp& mul, graph::ValueId out) {
  return lower_elementwise(lowering, mul.a, mul.b, out,
                           [](const kernels::KernelTable& k, const float* a, const float* b,
                              std::int64_t n, float* y) { k.mul(a, b, n, y); });
}

Status lower_op(Lowering& lowering, const graph::ScaleOp& scale, graph::ValueId out) {
  return lower_elementwise(
      lowering, scale.x, scale.x, out,
      [factor = scale.factor](const kernels::KernelTable& k, const float* x, const float*,
                              std::int64_t n, float* y) { k.scale(x, factor, n, y); });
}

Status lower_op(Lowering& lowering, const graph::ClampOp& clamp, graph::ValueId out) {
  return lower_elementwise(
      lowering, clamp.x, clamp.x, out,
      [limit = clamp.limit](const kernels::KernelTable& k, const float* x, const float*,
                            std::int64_t n, float* y) { k.clamp(x, limit, n, y); });
}

Status lower_op(Lowering& lowering, const graph::SoftcapOp& softcap, graph::ValueId out) {
  return lower_elementwise(
      lowering, softcap.x, softcap.x, out,
      [cap = softcap.cap](const kernels::KernelTable& k, const float* x, const float*,
                          std::int64_t n, float* y) { k.softcap(x, cap, n, y); });
}

}  // namespace quern::backends::cpu
