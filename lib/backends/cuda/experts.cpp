// A mixture's router and its experts: rows sorted by expert, so that every expert is one product.
#include <map>

#include "backends/cuda/kernels/mixture_args.h"
#include "backends/cuda/linear.h"
#include "backends/cuda/ops.h"

namespace quern::backends::cuda {
namespace {

/// Lowers one op. Used once.
class ExpertsLowering {
 public:
  ExpertsLowering(Lowering& lowering, const graph::ExpertsOp& op)
      : lowering_(lowering),
        op_(op),
        n_experts_(lowering.weight(op.gate).view.batch),
        used_(lowering.value(op.route).cols / 2),
        dim_(lowering.value(op.x).cols),
        ffn_dim_(lowering.weight(op.gate).view.rows),
        max_slots_(lowering.max_rows(lowering.value(op.x)) * used_) {}

  Status lower(graph::ValueId out) {
    const BufferId sorted = floats(dim_), gated = floats(ffn_dim_), upper = floats(ffn_dim_);
    const BufferId results = floats(dim_), y = lowering_.allocate(out);
    table_ = lowering_.new_buffer(table_words(max_slots_) * 4);
    sort();
    gather(sorted);
    Input x{sorted, dim_, {}}, h{gated, ffn_dim_, {}};
    QUERN_CHECK(product(Of::kGate, op_.gate_bias, x, gated));
    QUERN_CHECK(product(Of::kUp, op_.up_bias, x, upper));
    glu(gated, upper);
    QUERN_CHECK(product(Of::kDown, op_.down_bias, h, results));
    combine(results, y);
    return {};
  }

 private:
  using Of = graph::ExpertPair::Of;
  /// Sorted rows and the forms in which they were packed.
  struct Input {
    BufferId rows;
    std::int64_t cols;
    std::map<RowFormat, BufferId> packed;
  };

  std::int64_t table_words(std::int64_t slots) const { return 2 * n_experts_ + 1 + 2 * slots; }
  /// Where the table's parts lie in a step.
  static SlotTable table_at(std::byte* memory, std::int64_t n_experts, std::int64_t slots) {
    auto* begin = reinterpret_cast<std::int32_t*>(memory);
    return {begin, begin + n_experts + 1, begin + 2 * n_experts + 1,
            begin + 2 * n_experts + 1 + slots};
  }
  BufferId floats(std::int64_t cols) {
    return lowering_.new_buffer(max_slots_ * cols * static_cast<std::int64_t>(sizeof(float)));
  }

  void sort() {
    const KernelId kernel = lowering_.kernel("quern_sort_slots");
    const BufferId route = lowering_.buffer(op_.route), table = table_;
    const std::int64_t n = n_experts_, used = used_;
    lowering_.add("sort_slots", {route}, {table}, [=](const LaunchContext& context) {
      const SortSlotsArgs args{table_at(context.bytes(table), n, context.rows * used),
                               context.floats(route), context.rows, static_cast<std::int32_t>(n),
                               static_cast<std::int32_t>(used)};
      return context.launch(kernel, {1, 1, 1}, {kSortThreads, 1, 1}, args,
                            sort_shared_bytes(args.experts));
    });
  }

  void gather(BufferId sorted) {
    const KernelId kernel = lowering_.kernel("quern_gather_slots");
    const BufferId x = lowering_.buffer(op_.x), table = table_;
    const std::int64_t n = n_experts_, used = used_, dim = dim_;
    lowering_.add("gather_slots", {x, table}, {sorted}, [=](const LaunchContext& context) {
      const std::int64_t slots = context.rows * used;
      const GatherSlotsArgs args{context.floats(x), table_at(context.bytes(table), n, slots).row,
                                 context.floats(sorted), slots, dim};
      return context.launch_flat(kernel, slots * dim, args);
    });
  }

  /// Sorted rows as a product takes them.
  BufferId packed(BufferId rows, RowFormat format, std::int64_t cols) {
    if (format == RowFormat::kF32) return rows;
    const std::int64_t tiles = max_slots_ / kTileRows + std::min(n_experts_, max_slots_);
    const BufferId out = lowering_.new_buffer(tiles * packed_tile_bytes(format, cols));
    const PackCall call(lowering_, format, cols);
    const BufferId table = table_;
    const std::int64_t n = n_experts_, used = used_;
    lowering_.add("pack", {rows, table}, {out}, [=](const LaunchContext& context) {
      const std::int64_t slots = context.rows * used;
      const SlotTable sorted = table_at(context.bytes(table), n, slots);
      return call.issue(context, context.floats(rows), slots, {sorted.begin, sorted.tile, n},
                        context.bytes(out));
    });
    return out;
  }

  /// The product of one of the three matrices, and what adapters add to it.
  Status product(Of of, graph::WeightId bias, Input& input, BufferId out) {
    QUERN_CHECK(multiply(op_.matrix(of), bias, input, out, false));
    for (const graph::ExpertPair& pair : op_.pairs) {
      if (pair.of != of) continue;
      const std::int64_t rank = lowering_.weight(pair.a).view.rows;
      Input low{floats(rank), rank, {}};
      QUERN_CHECK(multiply(pair.a, graph::kNone, input, low.rows, false));
      QUERN_CHECK(multiply(pair.b, graph::kNone, low, out, true));
    }
    return {};
  }

  Status multiply(graph::WeightId weight, graph::WeightId bias, Input& input, BufferId out,
                  bool adds) {
    QUERN_TRY(call, LinearCall::create(lowering_, weight, bias, "experts"));
    auto found = input.packed.find(call.format());
    if (found == input.packed.end())
      found =
          input.packed.emplace(call.format(), packed(input.rows, call.format(), input.cols)).first;
    const BufferId rows = found->second, table = table_;
    const std::int64_t n = n_experts_, used = used_;
    std::vector<BufferId> reads{rows, table};
    if (adds) reads.push_back(out);
    lowering_.add(nullptr, reads, {out}, [=](const LaunchContext& context) {
      const std::int64_t slots = context.rows * used;
      const SlotTable sorted = table_at(context.bytes(table), n, slots);
      LinearCall::Rows its{context.bytes(rows)};
      its.y = context.floats(out);
      its.residual = adds ? its.y : nullptr;
      its.count = slots;
      its.segments = {sorted.begin, sorted.tile, n};
      return call.issue(context, its);
    });
    return {};
  }

  void glu(BufferId gate, BufferId up) {
    const KernelId kernel = lowering_.kernel("quern_slot_glu");
    const std::int64_t per_row = used_ * ffn_dim_;
    const float limit = op_.limit, alpha = op_.alpha;
    const auto activation = static_cast<kernels::Activation>(op_.activation);
    lowering_.add("glu", {gate, up}, {gate}, [=](const LaunchContext& context) {
      const SlotGluArgs args{context.floats(gate),
                             context.floats(up),
                             context.rows * per_row,
                             limit,
                             alpha,
                             activation};
      return context.launch_flat(kernel, args.n, args);
    });
  }

  void combine(BufferId results, BufferId out) {
    const KernelId kernel = lowering_.kernel("quern_combine_slots");
    const BufferId route = lowering_.buffer(op_.route), table = table_;
    const std::int64_t n = n_experts_, used = used_, dim = dim_;
    lowering_.add("combine", {results, table, route}, {out}, [=](const LaunchContext& context) {
      const SlotTable sorted = table_at(context.bytes(table), n, context.rows * used);
      const CombineSlotsArgs args{context.floats(results),
                                  sorted.place,
                                  context.floats(route),
                                  context.floats(out),
                                  context.rows,
                                  dim,
                                  static_cast<std::int32_t>(used)};
      return context.launch_flat(kernel, args.rows * dim, args);
    });
  }

  Lowering& lowering_;
  const graph::ExpertsOp& op_;
  const std::int64_t n_experts_, used_, dim_, ffn_dim_, max_slots_;
  BufferId table_ = -1;
};

}  // namespace

Status lower_op(Lowering& lowering, const graph::RouteOp& route, graph::ValueId out) {
  const BufferId x = lowering.buffer(route.x), y = lowering.allocate(out);
  const graph::WeightId bias = route.bias;
  if (bias != graph::kNone) lowering.weight(bias);
  RouteArgs args{};
  args.experts = static_cast<std::int32_t>(lowering.value(route.x).cols);
  args.used = static_cast<std::int32_t>(route.n_used);
  args.groups = static_cast<std::int32_t>(route.n_groups);
  args.used_groups = static_cast<std::int32_t>(route.n_used_groups);
  args.scale = route.scale;
  args.sigmoid = route.scoring == graph::Scoring::kSigmoid;
  args.normalise = route.normalise;
  args.group_by_two = route.group_by_two;
  const KernelId kernel = lowering.kernel("quern_route");
  lowering.add(nullptr, {x}, {y}, [=](const LaunchContext& context) {
    RouteArgs own = args;
    own.x = context.floats(x);
    own.bias = context.vector(bias);
    own.out = context.floats(y);
    own.rows = context.rows;
    return context.launch(kernel, {static_cast<std::uint32_t>(own.rows), 1, 1},
                          {kRouteThreads, 1, 1}, own, route_shared_bytes(own.experts, own.groups));
  });
  return {};
}

Status lower_op(Lowering& lowering, const graph::ExpertsOp& op, graph::ValueId out) {
  return ExpertsLowering(lowering, op).lower(out);
}

}  // namespace quern::backends::cuda
