// Norms over groups of columns.
#include "backends/cuda/kernels/row_args.h"
#include "backends/cuda/ops.h"

namespace quern::backends::cuda {
namespace {

struct NormInputs {
  graph::ValueId x;
  graph::ValueId like = graph::kNone;
  graph::WeightId weight = graph::kNone, bias = graph::kNone;
};

bool is_shared(Lowering& lowering, graph::WeightId id, std::int64_t group) {
  return id == graph::kNone || lowering.weight(id).view.cols == group;
}

Status lower_norm(Lowering& lowering, Norm kind, const NormInputs& inputs, float number,
                  std::int64_t group, graph::ValueId out) {
  const BufferId x = lowering.buffer(inputs.x);
  const bool compares = inputs.like != graph::kNone;
  const BufferId like = compares ? lowering.buffer(inputs.like) : x;
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_norm");
  const graph::Value& value = lowering.value(out);
  NormArgs args{};
  args.cols = value.cols;
  args.group = group;
  args.weight_shared = is_shared(lowering, inputs.weight, group);
  args.bias_shared = is_shared(lowering, inputs.bias, group);
  args.number = number;
  args.kind = kind;
  lowering.add(nullptr, {x, like}, {y}, [=, &value](const LaunchContext& context) {
    NormArgs own = args;
    own.x = context.floats(x);
    own.like = context.floats(like);
    own.weight = context.vector(inputs.weight);
    own.bias = context.vector(inputs.bias);
    own.out = context.floats(y);
    own.rows = context.count(value);
    return context.launch(
        kernel,
        {static_cast<std::uint32_t>(own.rows), static_cast<std::uint32_t>(own.cols / own.group), 1},
        {128, 1, 1}, own);
  });
  return {};
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::RmsNormOp& norm, graph::ValueId out) {
  return lower_norm(lowering, Norm::kRms, {.x = norm.x, .weight = norm.weight}, norm.eps,
                    norm.group, out);
}

Status lower_op(Lowering& lowering, const graph::LayerNormOp& norm, graph::ValueId out) {
  return lower_norm(lowering, Norm::kLayer, {.x = norm.x, .weight = norm.weight, .bias = norm.bias},
                    norm.eps, norm.group, out);
}

Status lower_op(Lowering& lowering, const graph::MatchMagnitudeOp& match, graph::ValueId out) {
  return lower_norm(lowering, Norm::kMagnitude, {.x = match.x, .like = match.like}, match.floor,
                    lowering.value(out).cols, out);
}

Status lower_op(Lowering& lowering, const graph::CutoffOp& cutoff, graph::ValueId out) {
  return lower_norm(lowering, Norm::kCutoff, {.x = cutoff.x}, cutoff.deviations,
                    lowering.value(out).cols, out);
}

}  // namespace quern::backends::cuda
