#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// A norm over every group of `group` columns of every row.
struct NormShape {
  BufferId x, out;
  std::int64_t cols, group;
};

/// A vector for every group of a row: one for all of them, or each its own.
struct GroupVector {
  const float* data;  ///< nullptr: none.
  bool shared;

  const float* of(std::int64_t group_begin) const noexcept {
    return data == nullptr || shared ? data : data + group_begin;
  }
};

class RmsNormStep final : public Step {
 public:
  RmsNormStep(const NormShape& shape, GroupVector weight, float eps)
      : shape_(shape), weight_(weight), eps_(eps) {}

  void run(const StepContext& context) const override {
    for (std::int64_t at = context.row_begin * shape_.cols; at < context.row_end * shape_.cols;
         at += shape_.group) {
      context.kernels.rms_norm(context.floats(shape_.x) + at, weight_.of(at % shape_.cols), eps_,
                               shape_.group, context.floats(shape_.out) + at);
    }
  }

 private:
  NormShape shape_;
  GroupVector weight_;
  float eps_;
};

class LayerNormStep final : public Step {
 public:
  LayerNormStep(const NormShape& shape, GroupVector weight, GroupVector bias, float eps)
      : shape_(shape), weight_(weight), bias_(bias), eps_(eps) {}

  void run(const StepContext& context) const override {
    for (std::int64_t at = context.row_begin * shape_.cols; at < context.row_end * shape_.cols;
         at += shape_.group) {
      const std::int64_t group = at % shape_.cols;
      context.kernels.layer_norm(context.floats(shape_.x) + at, weight_.of(group), bias_.of(group),
                                 eps_, shape_.group, context.floats(shape_.out) + at);
    }
  }

 private:
  NormShape shape_;
  GroupVector weight_;
  GroupVector bias_;
  float eps_;
};

GroupVector group_vector(const Lowering& lowering, graph::WeightId id, std::int64_t group) {
  if (id == graph::kNone) return {nullptr, true};
  const quant::TensorView& view = lowering.weight(id).view;
  return {view.f32(), view.cols == group};
}

NormShape make_shape(Lowering& lowering, graph::ValueId x, graph::ValueId out, std::int64_t group) {
  const graph::Value& value = lowering.value(x);
  const BufferId result = lowering.reuse(out, x);
  return {lowering.buffer(x), result, value.cols, group};
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::RmsNormOp& norm, graph::ValueId out) {
  const NormShape shape = make_shape(lowering, norm.x, out, norm.group);
  lowering.add(std::make_unique<RmsNormStep>(shape, group_vector(lowering, norm.weight, norm.group),
                                             norm.eps),
               by_rows_of(lowering.value(norm.x), {shape.x}, {shape.out}));
  return {};
}

Status lower_op(Lowering& lowering, const graph::LayerNormOp& norm, graph::ValueId out) {
  const NormShape shape = make_shape(lowering, norm.x, out, norm.group);
  lowering.add(
      std::make_unique<LayerNormStep>(shape, group_vector(lowering, norm.weight, norm.group),
                                      group_vector(lowering, norm.bias, norm.group), norm.eps),
      by_rows_of(lowering.value(norm.x), {shape.x}, {shape.out}));
  return {};
}

}  // namespace quern::backends::cpu
