// Ops with a state that every row of a sequence changes. Rows follow one another in order, so
// threads take columns or heads: the bits do not depend on who takes which, nor on where a step
// ends.
#include <algorithm>

#include "backends/cpu/kv_cache.h"
#include "backends/cpu/ops.h"
#include "base/scalar_math.h"

namespace quern::backends::cpu {
namespace {

/// Calls visit(cache, first, last) for the rows of every sequence of the step.
template <class Visit>
void for_each_sequence(const StepContext& context, Visit visit) {
  const auto sequences = context.step.sequences;
  for (std::size_t first = 0; first < sequences.size();) {
    std::size_t last = first + 1;
    while (last < sequences.size() && sequences[last] == sequences[first]) ++last;
    visit(*static_cast<const KvCache*>(sequences[first]), static_cast<std::int64_t>(first),
          static_cast<std::int64_t>(last));
    first = last;
  }
}

class CausalConvStep final : public Step {
 public:
  struct Shape {
    BufferId x, out;
    const float* weight;
    const float* bias;  ///< Or nullptr.
    graph::StateId state;
    std::int64_t cols, kernel;
  };
  explicit CausalConvStep(const Shape& shape) : s_(shape) {}

  void run(const StepContext& context) const override {
    const auto [begin, end] = context.share(s_.cols);
    const float* x = context.floats(s_.x);
    float* out = context.floats(s_.out);
    for_each_sequence(context, [&, begin = begin, end = end](
                                   const KvCache& cache, std::int64_t first, std::int64_t last) {
      float* past = cache.rolling(s_.state);
      for (std::int64_t row = first; row < last; ++row) {
        for (std::int64_t c = begin; c < end; ++c)
          out[row * s_.cols + c] = convolve(x[row * s_.cols + c], past + c * (s_.kernel - 1), c);
      }
    });
  }

 private:
  /// One column of one row; `past` are the column's last kernel − 1 inputs, oldest first.
  float convolve(float x, float* past, std::int64_t c) const {
    const float* w = s_.weight + c * s_.kernel;
    const std::int64_t n = s_.kernel - 1;
    float sum = 0.0F;
    for (std::int64_t j = 0; j < n; ++j) sum += w[j] * past[j];
    sum += w[n] * x;
    std::copy(past + 1, past + n, past);
    past[n - 1] = x;
    return s_.bias == nullptr ? sum : sum + s_.bias[c];
  }

  Shape s_;
};

class ScanStep final : public Step {
 public:
  struct Shape {
    BufferId x, dt, b, c, out;
    const float* a;
    const float* skip;
    const float* dt_bias;  ///< Or nullptr.
    graph::StateId state;
    std::int64_t heads, head_dim, state_dim, groups, a_per_head;
    float dt_min, dt_max;
  };
  explicit ScanStep(const Shape& shape) : s_(shape) {}

  void run(const StepContext& context) const override {
    const auto [begin, end] = context.share(s_.heads);
    for_each_sequence(context, [&, begin = begin, end = end](
                                   const KvCache& cache, std::int64_t first, std::int64_t last) {
      float* state = cache.rolling(s_.state);
      for (std::int64_t row = first; row < last; ++row) {
        for (std::int64_t head = begin; head < end; ++head)
          scan(context, row, head, state + head * s_.head_dim * s_.state_dim);
      }
    });
  }

 private:
  /// log(1 + e^x), and x where that is the same, clamped.
  float step_size(float x) const {
    constexpr float kLinear = 20.0F;
    if (x <= kLinear) x = static_cast<float>(base::log(1.0 + base::exp(static_cast<double>(x))));
    return s_.dt_min == s_.dt_max ? x : std::min(std::max(x, s_.dt_min), s_.dt_max);
  }

  void scan(const StepContext& context, std::int64_t row, std::int64_t head, float* state) const {
    const float bias = s_.dt_bias == nullptr ? 0.0F : s_.dt_bias[head];
    const float d = step_size(context.floats(s_.dt)[row * s_.heads + head] + bias);
    const std::int64_t group = head / (s_.heads / s_.groups);
    const std::int64_t at = (row * s_.groups + group) * s_.state_dim;
    const std::int64_t column = (row * s_.heads + head) * s_.head_dim;
    kernels::ScanArgs args{};
    args.a = s_.a + head * s_.a_per_head;
    args.one_rate = s_.a_per_head == 1;
    args.step = d;
    args.skip = s_.skip[head];
    args.b = context.floats(s_.b) + at;
    args.c = context.floats(s_.c) + at;
    args.x = context.floats(s_.x) + column;
    args.head_dim = s_.head_dim;
    args.n = s_.state_dim;
    args.state = state;
    args.out = context.floats(s_.out) + column;
    context.kernels.scan(args);
  }

  Shape s_;
};

const float* vector_or_null(const Lowering& lowering, graph::WeightId id) {
  return id == graph::kNone ? nullptr : lowering.weight(id).view.f32();
}

}  // namespace

Status lower_causal_conv(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& conv = *std::get_if<graph::CausalConvOp>(&op);
  const CausalConvStep::Shape shape{lowering.buffer(conv.x),
                                    lowering.allocate(out),
                                    vector_or_null(lowering, conv.weight),
                                    vector_or_null(lowering, conv.bias),
                                    conv.state,
                                    lowering.value(conv.x).cols,
                                    conv.kernel};
  lowering.add(std::make_unique<CausalConvStep>(shape), {Split::kOther, {shape.x}, {shape.out}});
  return {};
}

Status lower_scan(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& scan = *std::get_if<graph::ScanOp>(&op);
  const std::int64_t heads = lowering.value(scan.dt).cols;
  const ScanStep::Shape shape{lowering.buffer(scan.x),
                              lowering.buffer(scan.dt),
                              lowering.buffer(scan.b),
                              lowering.buffer(scan.c),
                              lowering.allocate(out),
                              vector_or_null(lowering, scan.a),
                              vector_or_null(lowering, scan.skip),
                              vector_or_null(lowering, scan.dt_bias),
                              scan.state,
                              heads,
                              scan.head_dim,
                              lowering.value(scan.b).cols / scan.groups,
                              scan.groups,
                              lowering.weight(scan.a).view.cols / heads,
                              scan.dt_min,
                              scan.dt_max};
  lowering.add(std::make_unique<ScanStep>(shape),
               {Split::kOther, {shape.x, shape.dt, shape.b, shape.c}, {shape.out}});
  return {};
}

}  // namespace quern::backends::cpu
