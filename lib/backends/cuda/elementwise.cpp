// Ops that make each element, or each row, from the same place of their inputs.
#include "backends/cuda/kernels/row_args.h"
#include "backends/cuda/ops.h"

namespace quern::backends::cuda {
namespace {

/// \param b the second input; the first once more where there is one only.
Status lower_elements(Lowering& lowering, graph::ValueId a, graph::ValueId b, graph::ValueId out,
                      ElementwiseArgs args) {
  const BufferId first = lowering.buffer(a), second = lowering.buffer(b);
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_elementwise");
  const graph::Value& value = lowering.value(out);
  lowering.add(nullptr, {first, second}, {y}, [=, &value](const LaunchContext& context) {
    ElementwiseArgs own = args;
    own.a = context.floats(first);
    own.b = context.floats(second);
    own.out = context.floats(y);
    own.n = context.count(value) * value.cols;
    return context.launch_flat(kernel, own.n, own);
  });
  return {};
}

ElementwiseArgs of_kind(Elementwise kind, float number = 0.0F) {
  ElementwiseArgs args{};
  args.kind = kind;
  args.number = number;
  return args;
}

ElementwiseArgs of_activation(Elementwise kind, graph::Activation activation) {
  ElementwiseArgs args = of_kind(kind);
  args.activation = static_cast<kernels::Activation>(activation);
  return args;
}

/// Copies columns [first, first + cols) of x; `selects`: of the rows whose output was asked for.
void add_copy(Lowering& lowering, graph::ValueId x, graph::ValueId out, std::int64_t first,
              bool selects) {
  const BufferId from = lowering.buffer(x), y = lowering.allocate(out);
  const std::int64_t all = lowering.value(x).cols;
  const KernelId kernel = lowering.kernel("quern_copy");
  const graph::Value& value = lowering.value(out);
  lowering.add(nullptr, {from}, {y}, [=, &value](const LaunchContext& context) {
    const CopyArgs args{context.floats(from),
                        selects ? context.arrays.output_rows : nullptr,
                        context.floats(y),
                        context.count(value),
                        all,
                        first,
                        value.cols};
    return context.launch_flat(kernel, args.rows * args.cols, args);
  });
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::GluOp& glu, graph::ValueId out) {
  return lower_elements(lowering, glu.gate, glu.up, out,
                        of_activation(Elementwise::kGlu, glu.activation));
}

Status lower_op(Lowering& lowering, const graph::ActivationOp& activation, graph::ValueId out) {
  return lower_elements(lowering, activation.x, activation.x, out,
                        of_activation(Elementwise::kActivation, activation.activation));
}

Status lower_op(Lowering& lowering, const graph::AddOp& add, graph::ValueId out) {
  return lower_elements(lowering, add.a, add.b, out, of_kind(Elementwise::kAdd));
}

Status lower_op(Lowering& lowering, const graph::MulOp& mul, graph::ValueId out) {
  return lower_elements(lowering, mul.a, mul.b, out, of_kind(Elementwise::kMul));
}

Status lower_op(Lowering& lowering, const graph::ScaleOp& scale, graph::ValueId out) {
  return lower_elements(lowering, scale.x, scale.x, out,
                        of_kind(Elementwise::kScale, scale.factor));
}

Status lower_op(Lowering& lowering, const graph::ClampOp& clamp, graph::ValueId out) {
  return lower_elements(lowering, clamp.x, clamp.x, out, of_kind(Elementwise::kClamp, clamp.limit));
}

Status lower_op(Lowering& lowering, const graph::SoftcapOp& softcap, graph::ValueId out) {
  return lower_elements(lowering, softcap.x, softcap.x, out,
                        of_kind(Elementwise::kSoftcap, softcap.cap));
}

Status lower_op(Lowering& lowering, const graph::ScaleRowsOp& scale, graph::ValueId out) {
  const BufferId x = lowering.buffer(scale.x), factor = lowering.buffer(scale.factor);
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_scale_rows");
  const graph::Value& value = lowering.value(out);
  lowering.add(nullptr, {x, factor}, {y}, [=, &value](const LaunchContext& context) {
    const ScaleArgs args{context.floats(x), context.floats(factor), context.floats(y),
                         context.count(value), value.cols};
    return context.launch_flat(kernel, args.rows * args.cols, args);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::ScaleColumnsOp& scale, graph::ValueId out) {
  lowering.weight(scale.weight);
  const BufferId x = lowering.buffer(scale.x), y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_scale_columns");
  const graph::Value& value = lowering.value(out);
  const graph::WeightId weight = scale.weight;
  lowering.add(nullptr, {x}, {y}, [=, &value](const LaunchContext& context) {
    const ScaleArgs args{context.floats(x), context.vector(weight), context.floats(y),
                         context.count(value), value.cols};
    return context.launch_flat(kernel, args.rows * args.cols, args);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::ColumnsOp& part, graph::ValueId out) {
  add_copy(lowering, part.x, out, part.first, false);
  return {};
}

Status lower_op(Lowering& lowering, const graph::SelectRowsOp& op, graph::ValueId out) {
  add_copy(lowering, op.x, out, 0, true);
  return {};
}

Status lower_op(Lowering& lowering, const graph::InputOp& op, graph::ValueId out) {
  lowering.hold_input(op.number, lowering.allocate(out));
  return {};
}

Status lower_op(Lowering& lowering, const graph::MixOp& mix, graph::ValueId out) {
  const KernelId kernel = lowering.kernel("quern_mix");
  const graph::Value& value = lowering.value(out);
  const BufferId factors = lowering.buffer(mix.factors), base = lowering.buffer(mix.base);
  const std::int64_t factor_cols = lowering.value(mix.factors).cols;
  const BufferId y = lowering.allocate(out);
  for (std::size_t j = 0; j < mix.xs.size(); ++j) {
    const BufferId x = lowering.buffer(mix.xs[j]), sum = j == 0 ? base : y;
    const std::int64_t at = mix.first + static_cast<std::int64_t>(j);
    const float offset = mix.offset;
    lowering.add(nullptr, {x, sum, factors}, {y}, [=, &value](const LaunchContext& context) {
      const MixArgs args{context.floats(x),
                         context.floats(sum),
                         context.floats(factors),
                         context.floats(y),
                         context.count(value),
                         value.cols,
                         factor_cols,
                         at,
                         offset};
      return context.launch_flat(kernel, args.rows * args.cols, args);
    });
  }
  return {};
}

Status lower_op(Lowering& lowering, const graph::JoinHeadsOp& join, graph::ValueId out) {
  const BufferId a = lowering.buffer(join.a), b = lowering.buffer(join.b);
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_join_heads");
  JoinHeadsArgs args{};
  args.heads = lowering.value(join.b).cols / join.b_dim;
  args.a_cols = lowering.value(join.a).cols;
  args.a_dim = join.a_dim;
  args.b_dim = join.b_dim;
  const graph::Value& value = lowering.value(out);
  lowering.add(nullptr, {a, b}, {y}, [=, &value](const LaunchContext& context) {
    JoinHeadsArgs own = args;
    own.a = context.floats(a);
    own.b = context.floats(b);
    own.out = context.floats(y);
    own.rows = context.count(value);
    return context.launch_flat(kernel, own.rows * value.cols, own);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::PoolOp& pool, graph::ValueId out) {
  const BufferId x = lowering.buffer(pool.x), y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_pool");
  const std::int64_t cols = lowering.value(out).cols;
  const bool mean = pool.pooling == graph::Pooling::kMean;
  const bool takes_last = pool.pooling == graph::Pooling::kLast;
  lowering.add(nullptr, {x}, {y}, [=](const LaunchContext& context) {
    const PoolArgs args{
        context.floats(x), context.arrays.starts, context.floats(y), context.sequences, cols, mean,
        takes_last};
    return context.launch_flat(kernel, args.sequences * cols, args);
  });
  return {};
}

}  // namespace quern::backends::cuda
