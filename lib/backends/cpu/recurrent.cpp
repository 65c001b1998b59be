// Ops with a state that every row of a sequence changes. Rows follow one another in order, so
// threads take columns or heads: the bits do not depend on who takes which, nor on where a step
// ends.
#include <algorithm>

#include "backends/cpu/kv_cache.h"
#include "backends/cpu/ops.h"

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
    for_each_sequence(context, [&, begin = begin, end = end](
                                   const KvCache& cache, std::int64_t first, std::int64_t last) {
      kernels::ConvArgs args{};
      args.rows = last - first;
      args.cols = s_.cols;
      args.kernel = s_.kernel;
      args.begin = begin;
      args.end = end;
      args.weight = s_.weight;
      args.bias = s_.bias;
      args.x = context.floats(s_.x) + first * s_.cols;
      args.out = context.floats(s_.out) + first * s_.cols;
      args.past = cache.rolling(s_.state);
      context.kernels.causal_conv(args);
    });
  }

 private:
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
    const std::int64_t in_group = s_.heads / s_.groups;
    for_each_sequence(context, [&, begin = begin, end = end](
                                   const KvCache& cache, std::int64_t first, std::int64_t last) {
      Heads heads{context, cache.rolling(s_.state), begin, 0};
      while (heads.begin < end) {
        const std::int64_t group_end = (heads.begin / in_group + 1) * in_group;
        heads.count = std::min({kHeads, end - heads.begin, group_end - heads.begin});
        for (std::int64_t row = first; row < last; row += kRows)
          scan(heads, row, std::min(kRows, last - row));
        heads.begin += heads.count;
      }
    });
  }

 private:
  /// Heads and rows of one call of the kernel: those whose step sizes a thread's stack holds.
  static constexpr std::int64_t kHeads = 16, kRows = 32;

  /// Heads of one group.
  struct Heads {
    const StepContext& context;
    float* state;  ///< Of all heads.
    std::int64_t begin, count;
  };

  /// log(1 + e^x) of a row, clamped.
  void step_sizes(const Heads& heads, std::int64_t row, float* sizes) const {
    const kernels::KernelTable& kernels = heads.context.kernels;
    const float* dt = heads.context.floats(s_.dt) + row * s_.heads + heads.begin;
    if (s_.dt_bias == nullptr) {
      kernels.softplus(dt, heads.count, sizes);
    } else {
      kernels.add(dt, s_.dt_bias + heads.begin, heads.count, sizes);
      kernels.softplus(sizes, heads.count, sizes);
    }
    if (s_.dt_min == s_.dt_max) return;
    for (std::int64_t i = 0; i < heads.count; ++i)
      sizes[i] = std::min(std::max(sizes[i], s_.dt_min), s_.dt_max);
  }

  void scan(const Heads& heads, std::int64_t row, std::int64_t rows) const {
    const StepContext& context = heads.context;
    float sizes[kRows * kHeads];
    for (std::int64_t i = 0; i < rows; ++i) step_sizes(heads, row + i, sizes + i * kHeads);
    const std::int64_t group = heads.begin / (s_.heads / s_.groups);
    const std::int64_t at = (row * s_.groups + group) * s_.state_dim;
    const std::int64_t column = (row * s_.heads + heads.begin) * s_.head_dim;
    kernels::ScanArgs args{};
    args.rows = rows;
    args.heads = heads.count;
    args.head_dim = s_.head_dim;
    args.n = s_.state_dim;
    args.a = s_.a + heads.begin * s_.a_per_head;
    args.rates = s_.a_per_head;
    args.skip = s_.skip + heads.begin;
    args.step = sizes;
    args.step_stride = kHeads;
    args.b = context.floats(s_.b) + at;
    args.c = context.floats(s_.c) + at;
    args.b_stride = s_.groups * s_.state_dim;
    args.x = context.floats(s_.x) + column;
    args.out = context.floats(s_.out) + column;
    args.x_stride = s_.heads * s_.head_dim;
    args.state = heads.state + heads.begin * s_.head_dim * s_.state_dim;
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
