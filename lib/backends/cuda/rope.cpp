// Positions: rotary angles and rotations, sinusoids, ALiBi's column.
#include "backends/cuda/kernels/row_args.h"
#include "backends/cuda/ops.h"
#include "base/scalar_math.h"

namespace quern::backends::cuda {

Status lower_op(Lowering& lowering, const graph::RopeAnglesOp& angles, graph::ValueId out) {
  const std::int32_t inv_freq = lowering.table(angles.inv_freq);
  const std::int32_t long_inv_freq =
      angles.long_after > 0 ? lowering.table(angles.long_inv_freq) : inv_freq;
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_rope_angles");
  const auto n = static_cast<std::int64_t>(angles.inv_freq.size());
  const std::int64_t long_after = angles.long_after;
  const float factor = angles.factor;
  lowering.add(nullptr, {}, {y}, [=](const LaunchContext& context) {
    const AnglesArgs args{context.arrays.positions,
                          context.arrays.lengths,
                          context.table<float>(inv_freq),
                          context.table<float>(long_inv_freq),
                          context.floats(y),
                          context.rows,
                          n,
                          long_after,
                          factor};
    return context.launch_flat(kernel, args.rows * n, args);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::SinusoidOp& op, graph::ValueId out) {
  const std::int64_t n = op.dim / 2;
  std::vector<double> divisors;
  for (std::int64_t i = 0; i < n; ++i)
    divisors.push_back(base::pow(10000.0, static_cast<double>(i) / static_cast<double>(n)));
  const std::int32_t table = lowering.table(divisors);
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_sinusoid");
  lowering.add(nullptr, {}, {y}, [=](const LaunchContext& context) {
    const SinusoidArgs args{context.arrays.positions, context.table<double>(table),
                            context.floats(y), context.rows, n};
    return context.launch_flat(kernel, args.rows * n, args);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::RopeOp& rope, graph::ValueId out) {
  const BufferId x = lowering.buffer(rope.x), angles = lowering.buffer(rope.angles);
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_rope");
  RopeArgs args{};
  args.cols = lowering.value(rope.x).cols;
  args.head_dim = rope.head_dim;
  args.angle_cols = lowering.value(rope.angles).cols;
  args.interleaved = rope.interleaved;
  lowering.add(nullptr, {x, angles}, {y}, [=](const LaunchContext& context) {
    RopeArgs own = args;
    own.x = context.floats(x);
    own.angles = context.floats(angles);
    own.out = context.floats(y);
    own.rows = context.rows;
    const std::int64_t items = own.head_dim - own.angle_cols / 2;  // Pairs count once.
    return context.launch_flat(kernel, own.rows * (own.cols / own.head_dim) * items, own);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::PositionColumnOp& column, graph::ValueId out) {
  const BufferId x = lowering.buffer(column.x), y = lowering.allocate(out);
  const bool has_slopes = !column.slopes.empty();
  const std::int32_t slopes = has_slopes ? lowering.table(column.slopes) : -1;
  const KernelId kernel = lowering.kernel("quern_position_column");
  const std::int64_t head_dim = column.head_dim, heads = lowering.value(column.x).cols / head_dim;
  lowering.add(nullptr, {x}, {y}, [=](const LaunchContext& context) {
    const PositionColumnArgs args{context.floats(x),
                                  has_slopes ? context.table<float>(slopes) : nullptr,
                                  context.arrays.positions,
                                  context.floats(y),
                                  context.rows,
                                  heads,
                                  head_dim};
    return context.launch_flat(kernel, args.rows * heads * (head_dim + 1), args);
  });
  return {};
}

}  // namespace quern::backends::cuda
