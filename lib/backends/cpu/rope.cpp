#include <cstring>

#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

class RopeAnglesStep final : public Step {
 public:
  RopeAnglesStep(std::vector<float> inv_freq, float factor, BufferId out)
      : inv_freq_(std::move(inv_freq)), factor_(factor), out_(out) {}

  void run(const StepContext& context) const override {
    const auto n = static_cast<std::int64_t>(inv_freq_.size());
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      float* cos = context.floats(out_) + row * 2 * n;
      kernels::rope_angles(context.step.positions[static_cast<std::size_t>(row)], inv_freq_.data(),
                           n, factor_, cos, cos + n);
    }
  }

 private:
  std::vector<float> inv_freq_;
  float factor_;
  BufferId out_;
};

class RopeStep final : public Step {
 public:
  struct Shape {
    BufferId x, angles, out;
    std::int64_t cols, head_dim, angle_cols;
    bool interleaved;
  };
  explicit RopeStep(const Shape& shape) : shape_(shape) {}

  void run(const StepContext& context) const override {
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      const float* x = context.floats(shape_.x) + row * shape_.cols;
      float* out = context.floats(shape_.out) + row * shape_.cols;
      if (out != x) std::memcpy(out, x, static_cast<std::size_t>(shape_.cols) * sizeof(float));
      const float* cos = context.floats(shape_.angles) + row * shape_.angle_cols;
      for (std::int64_t head = 0; head < shape_.cols; head += shape_.head_dim) {
        context.kernels.rope(out + head, cos, cos + shape_.angle_cols / 2, shape_.angle_cols,
                             shape_.interleaved);
      }
    }
  }

 private:
  Shape shape_;
};

}  // namespace

Status lower_rope_angles(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& angles = *std::get_if<graph::RopeAnglesOp>(&op);
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<RopeAnglesStep>(angles.inv_freq, angles.factor, id),
               {Split::kRows, {}, {id}});
  return {};
}

Status lower_rope(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& rope = *std::get_if<graph::RopeOp>(&op);
  const BufferId result = lowering.reuse(out, rope.x);
  const RopeStep::Shape shape{lowering.buffer(rope.x),
                              lowering.buffer(rope.angles),
                              result,
                              lowering.value(rope.x).cols,
                              rope.head_dim,
                              lowering.value(rope.angles).cols,
                              rope.interleaved};
  lowering.add(std::make_unique<RopeStep>(shape),
               {Split::kRows, {shape.x, shape.angles}, {result}});
  return {};
}

}  // namespace quern::backends::cpu
