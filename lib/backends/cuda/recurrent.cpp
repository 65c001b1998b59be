// Ops with a state that every row of a sequence changes.
#include "backends/cuda/kernels/recurrent_args.h"
#include "backends/cuda/ops.h"
#include "backends/sequence_layout.h"

namespace quern::backends::cuda {
namespace {

static_assert(kScanBlock == kernels::kScanColumns && kScanBlock == graph::kScanBlock);
static_assert(kScanSum == kernels::kScanSum);

std::int64_t rolling_offset(const Lowering& lowering, graph::StateId state) {
  const SequenceLayout layout(lowering.graph(), lowering.kv(), {});
  return static_cast<std::int64_t>(layout.rolling_offset(state));
}

/// Notes a weight, where there is one, as one that the device will hold.
graph::WeightId used(Lowering& lowering, graph::WeightId id) {
  if (id != graph::kNone) lowering.weight(id);
  return id;
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::CausalConvOp& conv, graph::ValueId out) {
  const BufferId x = lowering.buffer(conv.x), y = lowering.allocate(out);
  const graph::WeightId weight = used(lowering, conv.weight), bias = used(lowering, conv.bias);
  CausalConvArgs args{};
  args.state = rolling_offset(lowering, conv.state);
  args.cols = lowering.value(conv.x).cols;
  args.kernel = static_cast<std::int32_t>(conv.kernel);
  const KernelId convolve = lowering.kernel("quern_causal_conv");
  const KernelId move_on = lowering.kernel("quern_causal_conv_state");
  lowering.add(nullptr, {x}, {y}, [=](const LaunchContext& context) -> Status {
    CausalConvArgs own = args;
    own.arrays = context.arrays;
    own.x = context.floats(x);
    own.weight = context.vector(weight);
    own.bias = context.vector(bias);
    own.out = context.floats(y);
    own.rows = context.rows;
    QUERN_CHECK(context.launch_flat(convolve, own.rows * own.cols, own));
    if (own.kernel < 2) return {};
    return context.launch_flat(move_on, own.rows * own.cols, own);
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::ScanOp& scan, graph::ValueId out) {
  const graph::WeightId dt_bias = used(lowering, scan.dt_bias), skip = used(lowering, scan.skip);
  ScanArgs args{};
  args.state = rolling_offset(lowering, scan.state);
  args.heads = static_cast<std::int32_t>(lowering.value(scan.dt).cols);
  args.head_dim = static_cast<std::int32_t>(scan.head_dim);
  args.n = static_cast<std::int32_t>(lowering.value(scan.b).cols / scan.groups);
  args.groups = static_cast<std::int32_t>(scan.groups);
  args.rates = static_cast<std::int32_t>(lowering.weight(scan.a).view.cols / args.heads);
  args.dt_min = scan.dt_min;
  args.dt_max = scan.dt_max;
  if (args.n > kMostStateDim) {
    return Error(ErrorCode::kUnsupported, "the cuda backend lacks a scan of so many numbers")
        .of("scan, state_dim")
        .want("at most " + std::to_string(kMostStateDim))
        .got(std::to_string(args.n));
  }
  const BufferId x = lowering.buffer(scan.x), dt = lowering.buffer(scan.dt);
  const BufferId b = lowering.buffer(scan.b), c = lowering.buffer(scan.c);
  const BufferId y = lowering.allocate(out);
  const graph::WeightId a = scan.a;
  const KernelId kernel = lowering.kernel("quern_scan");
  lowering.add(nullptr, {x, dt, b, c}, {y}, [=](const LaunchContext& context) {
    ScanArgs own = args;
    own.arrays = context.arrays;
    own.x = context.floats(x);
    own.dt = context.floats(dt);
    own.b = context.floats(b);
    own.c = context.floats(c);
    own.a = context.vector(a);
    own.skip = context.vector(skip);
    own.dt_bias = context.vector(dt_bias);
    own.out = context.floats(y);
    const std::int64_t columns = own.heads / own.groups * own.head_dim;  // Of a group.
    const auto blocks = static_cast<std::uint32_t>(ceil_div(columns, kScanBlock) * own.groups);
    const std::uint32_t threads = static_cast<std::uint32_t>(own.eights() * kScanBlock);
    const std::uint32_t shared = threads * kScanRows * static_cast<std::uint32_t>(sizeof(float));
    return context.launch(kernel, {static_cast<std::uint32_t>(context.rows), blocks, 1},
                          {threads, 1, 1}, own, shared);
  });
  return {};
}

}  // namespace quern::backends::cuda
