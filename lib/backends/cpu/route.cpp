#include <algorithm>

#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// Chooses the experts of every row.
class RouteStep final : public Step {
 public:
  struct Buffers {
    BufferId x, out;
  };
  RouteStep(const graph::RouteOp& op, const float* bias, std::int64_t n_experts, Buffers buffers)
      : op_(op), bias_(bias), n_experts_(n_experts), buffers_(buffers) {}

  /// Scratch: the experts' scores, what they are chosen by, and their groups' marks.
  std::int64_t scratch_bytes() const noexcept {
    return (2 * n_experts_ + op_.n_groups) * static_cast<std::int64_t>(sizeof(float));
  }

  void run(const StepContext& context) const override {
    auto* scores = reinterpret_cast<float*>(context.scratch);
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      std::copy_n(context.floats(buffers_.x) + row * n_experts_, n_experts_, scores);
      score(context.kernels, scores);
      choose(scores, context.floats(buffers_.out) + row * 2 * op_.n_used);
    }
  }

 private:
  void score(const kernels::KernelTable& k, float* scores) const {
    if (op_.scoring == graph::Scoring::kSigmoid) {
      k.activation[static_cast<std::size_t>(graph::Activation::kSigmoid)](scores, n_experts_,
                                                                          scores);
    } else {
      k.softmax(scores, n_experts_);
    }
  }

  /// The best experts in falling order, the first of equal ones first; then their weights.
  void choose(float* scores, float* out) const {
    float* rank = scores + n_experts_;
    for (std::int64_t e = 0; e < n_experts_; ++e)
      rank[e] = scores[e] + (bias_ == nullptr ? 0.0F : bias_[e]);
    if (op_.n_used_groups < op_.n_groups) drop_groups(rank, rank + n_experts_);
    float sum = 0.0F;
    for (std::int64_t i = 0; i < op_.n_used; ++i) {
      // A row of NaN has no best expert: any will do, its weights are NaN all the same.
      const std::int64_t best = std::max_element(rank, rank + n_experts_) - rank;
      rank[best] = kNever;
      out[i] = static_cast<float>(best);
      out[op_.n_used + i] = scores[best];
      sum += scores[best];
    }
    const float factor = op_.normalise ? op_.scale / sum : op_.scale;
    for (std::int64_t i = 0; i < op_.n_used; ++i) out[op_.n_used + i] *= factor;
  }

  /// Only the best groups of neighbouring experts stay in the choice.
  void drop_groups(float* rank, float* groups) const {
    const std::int64_t size = n_experts_ / op_.n_groups;
    for (std::int64_t g = 0; g < op_.n_groups; ++g) groups[g] = group_score(rank + g * size, size);
    for (std::int64_t kept = 0; kept < op_.n_used_groups; ++kept)
      *std::max_element(groups, groups + op_.n_groups) = kNever;
    for (std::int64_t g = 0; g < op_.n_groups; ++g) {
      if (groups[g] != kNever) std::fill_n(rank + g * size, size, kDropped);
    }
  }

  /// Its best expert, or the sum of its best two.
  float group_score(const float* rank, std::int64_t size) const {
    float first = kNever, second = kNever;
    for (std::int64_t i = 0; i < size; ++i) {
      second = std::max(second, std::min(first, rank[i]));
      first = std::max(first, rank[i]);
    }
    return op_.group_by_two && size > 1 ? first + second : first;
  }

  // Below every score, and below those that are out of the choice.
  static constexpr float kDropped = -1e30F;
  static constexpr float kNever = -3e38F;

  graph::RouteOp op_;
  const float* bias_;
  std::int64_t n_experts_;
  Buffers buffers_;
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::RouteOp& route, graph::ValueId out) {
  const float* bias = route.bias == graph::kNone ? nullptr : lowering.weight(route.bias).view.f32();
  const RouteStep::Buffers buffers{lowering.buffer(route.x), lowering.allocate(out)};
  auto step = std::make_unique<RouteStep>(route, bias, lowering.value(route.x).cols, buffers);
  const std::int64_t scratch = step->scratch_bytes();
  lowering.add(std::move(step), {Split::kRows, {buffers.x}, {buffers.out}, scratch});
  return {};
}

}  // namespace quern::backends::cpu
