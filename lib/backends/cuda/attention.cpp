// Attention to a sequence's keys and values, or to those of its source.
#include <array>

#include "backends/cuda/attention_shape.h"
#include "backends/cuda/distance_table.h"
#include "backends/cuda/ops.h"
#include "backends/sequence_layout.h"

namespace quern::backends::cuda {
namespace {

constexpr std::int64_t kSpan = kernels::kSpanBlocks * kernels::kKvBlock;
/// Memory for the states of spans beyond what steps of few rows need.
constexpr std::int64_t kPartialBytes = 32 << 20;
/// Blocks with which a device is busy: where tiles are fewer, their spans are blocks of their own.
constexpr std::int64_t kBusyBlocks = 256;

/// The kernel "quern_<what>_<kind of cache>".
KernelId kv_kernel(Lowering& lowering, const char* what) {
  constexpr std::array<const char*, kernels::kKvTypes> kNames = {"",     "f32", "f16",
                                                                 "bf16", "q8",  "q4"};
  return lowering.kernel("quern_" + std::string(what) + "_" +
                         kNames[static_cast<std::size_t>(lowering.kv())]);
}

bool is_coded(KvType kv) { return kv == KvType::kQ8 || kv == KvType::kQ4; }

StateArgs state_args(const Lowering& lowering, graph::StateId id) {
  const graph::KvState& state = lowering.graph().states[static_cast<std::size_t>(id)];
  const SequenceLayout layout(lowering.graph(), lowering.kv(), {});
  StateArgs args{};
  const SequenceLayout::Place place = layout.place(id);
  args.k = place.k;
  args.v = place.v;
  args.head_bytes = place.head_bytes;
  args.block_bytes = place.block_bytes;
  args.span_bytes = place.span_bytes;
  args.heads = static_cast<std::int32_t>(state.n_kv_heads);
  args.head_dim = static_cast<std::int32_t>(state.head_dim);
  args.value_dim = static_cast<std::int32_t>(state.value_dim);
  args.source = state.source;
  return args;
}

void add_store(Lowering& lowering, graph::ValueId keys, graph::ValueId values, graph::StateId id) {
  const BufferId k = lowering.buffer(keys), v = lowering.buffer(values);
  const StateArgs state = state_args(lowering, id);
  const KernelId kernel = kv_kernel(lowering, "kv_store");
  lowering.add("kv_store", {k, v}, {}, [=](const LaunchContext& context) {
    const KvStoreArgs args{context.arrays, state, context.floats(k), context.floats(v),
                           context.rows};
    const std::int64_t blocks = ceil_div(context.rows * state.heads * 32, kStoreThreads);
    return context.launch(kernel, {static_cast<std::uint32_t>(blocks), 1, 1}, {kStoreThreads, 1, 1},
                          args);
  });
}

/// What differs between attention to the own sequence and to the source.
struct Extras {
  DistanceTable bias = {};
  std::int32_t slopes = -1;  ///< A table, or −1.
  graph::WeightId sinks = graph::kNone;
};

/// Attention of one op. Immutable.
class AttendCall {
 public:
  static Result<AttendCall> create(Lowering& lowering, graph::ValueId q, graph::StateId id,
                                   const AttentionShape& shape, graph::ValueId out) {
    AttendCall call;
    call.args_.state = state_args(lowering, id);
    call.args_.shape = shape;
    QUERN_CHECK(call.complete_shape(lowering, q));
    call.kernel_ = kv_kernel(lowering, "attention");
    call.merge_ = lowering.kernel("quern_attention_merge");
    call.q_ = lowering.buffer(q);
    call.out_ = lowering.allocate(out);
    call.partials_ = lowering.new_buffer(call.slots_ * call.slot_bytes());
    return call;
  }

  void add(Lowering& lowering, const Extras& extras) const {
    lowering.add(nullptr, {q_}, {out_, partials_},
                 [call = *this, extras](const LaunchContext& context) {
                   return call.issue(context, extras);
                 });
  }

 private:
  AttendCall() = default;

  std::int64_t slot_bytes() const {
    return static_cast<std::int64_t>(args_.shape.heads) * (args_.shape.value_dim + 2) * 4;
  }
  Status complete_shape(const Lowering& lowering, graph::ValueId q) {
    AttentionShape& shape = args_.shape;
    shape.kv_heads = args_.state.heads;
    shape.head_dim = args_.state.head_dim;
    shape.value_dim = args_.state.value_dim;
    coded_ = is_coded(lowering.kv());
    QUERN_CHECK(choose_tile(shape, coded_, args_.state.source ? "cross_attention" : "attention"));
    const CompileOptions& options = lowering.options();
    const std::int64_t end = args_.state.source ? options.max_source : options.max_positions;
    max_spans_ = ceil_div(end, kSpan);
    const std::int64_t rows = lowering.max_rows(lowering.value(q));
    slots_ = std::max(std::min(rows, kFewRows) * max_spans_,
                      std::min(rows * max_spans_, kPartialBytes / slot_bytes()));
    return {};
  }

  Status issue(const LaunchContext& context, const Extras& extras) const {
    AttentionArgs own = args_;
    own.arrays = context.arrays;
    own.bias = extras.bias.args(context);
    own.q = context.floats(q_);
    own.slope = extras.slopes < 0 ? nullptr : context.table<float>(extras.slopes);
    own.sink = context.vector(extras.sinks);
    own.out = context.floats(out_);
    own.rows = static_cast<std::int32_t>(context.rows);
    own.spans = static_cast<std::int32_t>(std::min(ceil_div(context.max_end, kSpan), max_spans_));
    const Dim3 grid = attention_grid(own.shape, context.rows, context.sequences, 1);
    const auto bytes = static_cast<std::uint32_t>(AttentionMemory(coded_, own.shape).end);
    const bool few = context.rows <= kFewRows;
    const bool busy = !few && std::int64_t{grid.x} * grid.y >= kBusyBlocks;
    if (busy || context.rows * own.spans > slots_)
      return context.launch(kernel_, grid, {kAttentionThreads, 1, 1}, own, bytes);
    own.partials = context.floats(partials_);
    const Dim3 by_span{grid.x, grid.y, static_cast<std::uint32_t>(own.spans)};
    QUERN_CHECK(context.launch(kernel_, by_span, {kAttentionThreads, 1, 1}, own, bytes));
    return context.launch(merge_,
                          {static_cast<std::uint32_t>(context.rows * own.shape.heads), 1, 1},
                          {kMergeThreads, 1, 1}, AttentionMergeArgs{own});
  }

  AttentionArgs args_{};
  KernelId kernel_ = -1, merge_ = -1;
  BufferId q_ = -1, out_ = -1, partials_ = -1;
  std::int64_t max_spans_ = 0;
  std::int64_t slots_ = 0;  ///< Spans of rows whose states `partials` holds.
  bool coded_ = false;
};

AttentionShape shape_of(std::int64_t n_heads, std::int64_t window, float scale, float softcap) {
  AttentionShape shape{};
  shape.heads = static_cast<std::int32_t>(n_heads);
  shape.window = static_cast<std::int32_t>(window);
  shape.scale = scale;
  shape.softcap = softcap;
  return shape;
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::AttentionOp& attention, graph::ValueId out) {
  const graph::KvState& state = lowering.graph().states[static_cast<std::size_t>(attention.state)];
  Extras extras;
  QUERN_TRY(bias, make_distance_table(lowering, "attention", attention.bias,
                                      lowering.options().max_positions - 1, 0));
  extras.bias = bias;
  if (!attention.alibi_slopes.empty()) extras.slopes = lowering.table(attention.alibi_slopes);
  extras.sinks = attention.sinks;
  if (attention.sinks != graph::kNone) lowering.weight(attention.sinks);
  if (attention.k != graph::kNone) add_store(lowering, attention.k, attention.v, attention.state);
  QUERN_TRY(call, AttendCall::create(
                      lowering, attention.q, attention.state,
                      shape_of(attention.n_heads, state.window, attention.scale, attention.softcap),
                      out));
  call.add(lowering, extras);
  return {};
}

Status lower_op(Lowering& lowering, const graph::CrossAttentionOp& attention, graph::ValueId out) {
  const graph::KvState& state = lowering.graph().states[static_cast<std::size_t>(attention.state)];
  QUERN_TRY(call, AttendCall::create(
                      lowering, attention.q, attention.state,
                      shape_of(attention.n_heads, state.window, attention.scale, 0.0F), out));
  call.add(lowering, {});
  return {};
}

Status lower_op(Lowering& lowering, const graph::StoreSourceOp& store, graph::ValueId /*out*/) {
  add_store(lowering, store.k, store.v, store.state);
  return {};
}

}  // namespace quern::backends::cuda
