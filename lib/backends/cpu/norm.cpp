#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// A norm over every group of `group` columns of every row.
struct NormShape {
  BufferId x, out;
  std::int64_t cols, group;
};

class RmsNormStep final : public Step {
 public:
  RmsNormStep(const NormShape& shape, const float* weight, float eps)
      : shape_(shape), weight_(weight), eps_(eps) {}

  void run(const StepContext& context) const override {
    for (std::int64_t at = context.row_begin * shape_.cols; at < context.row_end * shape_.cols;
         at += shape_.group) {
      context.kernels.rms_norm(context.floats(shape_.x) + at, weight_, eps_, shape_.group,
                               context.floats(shape_.out) + at);
    }
  }

 private:
  NormShape shape_;
  const float* weight_;
  float eps_;
};

class LayerNormStep final : public Step {
 public:
  LayerNormStep(const NormShape& shape, const float* weight, const float* bias, float eps)
      : shape_(shape), weight_(weight), bias_(bias), eps_(eps) {}

  void run(const StepContext& context) const override {
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      context.kernels.layer_norm(context.floats(shape_.x) + row * shape_.cols, weight_, bias_, eps_,
                                 shape_.cols, context.floats(shape_.out) + row * shape_.cols);
    }
  }

 private:
  NormShape shape_;
  const float* weight_;
  const float* bias_;
  float eps_;
};

const float* vector_or_null(const Lowering& lowering, graph::WeightId id) {
  return id == graph::kNone ? nullptr : lowering.weight(id).view.f32();
}

NormShape make_shape(Lowering& lowering, graph::ValueId x, graph::ValueId out, std::int64_t group) {
  const graph::Value& value = lowering.value(x);
  const BufferId result = lowering.reuse(out, x);
  return {lowering.buffer(x), result, value.cols, group};
}

}  // namespace

Status lower_rms_norm(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& norm = *std::get_if<graph::RmsNormOp>(&op);
  const NormShape shape = make_shape(lowering, norm.x, out, norm.group);
  lowering.add(
      std::make_unique<RmsNormStep>(shape, vector_or_null(lowering, norm.weight), norm.eps),
      by_rows_of(lowering.value(norm.x), {shape.x}, {shape.out}));
  return {};
}

Status lower_layer_norm(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& norm = *std::get_if<graph::LayerNormOp>(&op);
  const NormShape shape = make_shape(lowering, norm.x, out, lowering.value(norm.x).cols);
  lowering.add(std::make_unique<LayerNormStep>(shape, vector_or_null(lowering, norm.weight),
                                               vector_or_null(lowering, norm.bias), norm.eps),
               by_rows_of(lowering.value(norm.x), {shape.x}, {shape.out}));
  return {};
}

}  // namespace quern::backends::cpu
