#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/cpu/ops.h"
#include "base/scalar_math.h"
#include "quant/registry.h"

namespace quern::backends::cpu {
namespace {

class RopeAnglesStep final : public Step {
 public:
  RopeAnglesStep(graph::RopeAnglesOp op, BufferId out) : op_(std::move(op)), out_(out) {}

  void run(const StepContext& context) const override {
    const auto n = static_cast<std::int64_t>(op_.inv_freq.size());
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      float* cos = context.floats(out_) + row * 2 * n;
      context.kernels.rope_angles(context.step.positions[static_cast<std::size_t>(row)],
                                  frequencies(context, row).data(), n, op_.factor, cos, cos + n);
    }
  }

 private:
  const std::vector<float>& frequencies(const StepContext& context, std::int64_t row) const {
    const bool is_long = op_.long_after > 0 && context.step.length_of(row) > op_.long_after;
    return is_long ? op_.long_inv_freq : op_.inv_freq;
  }

  graph::RopeAnglesOp op_;
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

/// Frequencies and angles are computed in double, as those who publish tables do.
class SinusoidStep final : public Step {
 public:
  SinusoidStep(std::int64_t dim, BufferId out) : out_(out) {
    const std::int64_t n = dim / 2;
    for (std::int64_t i = 0; i < n; ++i)
      divisors_.push_back(base::pow(10000.0, static_cast<double>(i) / static_cast<double>(n)));
  }

  void run(const StepContext& context) const override {
    const std::size_t n = divisors_.size();
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      const auto position =
          static_cast<double>(context.step.positions[static_cast<std::size_t>(row)]);
      float* out = context.floats(out_) + static_cast<std::size_t>(row) * 2 * n;
      for (std::size_t i = 0; i < n; ++i) {
        const base::SinCos pair = base::sin_cos(position / divisors_[i]);
        out[i] = static_cast<float>(pair.sin);
        out[n + i] = static_cast<float>(pair.cos);
      }
    }
  }

 private:
  std::vector<double> divisors_;  ///< One over each frequency.
  BufferId out_;
};

class PositionColumnStep final : public Step {
 public:
  PositionColumnStep(graph::PositionColumnOp op, BufferId x, BufferId out, std::int64_t cols)
      : op_(std::move(op)), x_(x), out_(out), heads_(cols / op_.head_dim) {}

  void run(const StepContext& context) const override {
    const std::int64_t from = op_.head_dim, to = op_.head_dim + 1;
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      const auto position =
          static_cast<float>(context.step.positions[static_cast<std::size_t>(row)]);
      for (std::int64_t head = 0; head < heads_; ++head) {
        float* out = context.floats(out_) + (row * heads_ + head) * to;
        std::memcpy(out, context.floats(x_) + (row * heads_ + head) * from,
                    static_cast<std::size_t>(from) * sizeof(float));
        out[from] = column(head, position);
      }
    }
  }

 private:
  float column(std::int64_t head, float position) const {
    if (op_.slopes.empty()) return 1.0F;
    const auto rounded = [](float x) { return quant::bf16_to_f32(quant::f32_to_bf16(x)); };
    return rounded(rounded(op_.slopes[static_cast<std::size_t>(head)]) * rounded(position));
  }

  graph::PositionColumnOp op_;
  BufferId x_, out_;
  std::int64_t heads_;
};

class JoinHeadsStep final : public Step {
 public:
  struct Shape {
    BufferId a, b, out;
    std::int64_t a_cols, a_dim, b_dim, heads;
  };
  explicit JoinHeadsStep(const Shape& shape) : s_(shape) {}

  void run(const StepContext& context) const override {
    const std::int64_t a_step = s_.a_cols == s_.a_dim ? 0 : s_.a_dim;
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      const float* a = context.floats(s_.a) + row * s_.a_cols;
      const float* b = context.floats(s_.b) + row * s_.heads * s_.b_dim;
      float* out = context.floats(s_.out) + row * s_.heads * (s_.a_dim + s_.b_dim);
      for (std::int64_t head = 0; head < s_.heads; ++head) {
        out = std::copy_n(a + head * a_step, s_.a_dim, out);
        out = std::copy_n(b + head * s_.b_dim, s_.b_dim, out);
      }
    }
  }

 private:
  Shape s_;
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::JoinHeadsOp& join, graph::ValueId out) {
  const JoinHeadsStep::Shape shape{lowering.buffer(join.a),
                                   lowering.buffer(join.b),
                                   lowering.allocate(out),
                                   lowering.value(join.a).cols,
                                   join.a_dim,
                                   join.b_dim,
                                   lowering.value(join.b).cols / join.b_dim};
  lowering.add(std::make_unique<JoinHeadsStep>(shape),
               {Split::kRows, {shape.a, shape.b}, {shape.out}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::RopeAnglesOp& angles, graph::ValueId out) {
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<RopeAnglesStep>(angles, id), {Split::kRows, {}, {id}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::RopeOp& rope, graph::ValueId out) {
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

Status lower_op(Lowering& lowering, const graph::SinusoidOp& op, graph::ValueId out) {
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<SinusoidStep>(op.dim, id), {Split::kRows, {}, {id}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::PositionColumnOp& column, graph::ValueId out) {
  const BufferId result = lowering.allocate(out);
  const BufferId x = lowering.buffer(column.x);
  lowering.add(
      std::make_unique<PositionColumnStep>(column, x, result, lowering.value(column.x).cols),
      {Split::kRows, {x}, {result}});
  return {};
}

}  // namespace quern::backends::cpu
