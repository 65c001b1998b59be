// Attention among the rows of each sequence of a step: both directions, no cache.
#include "backends/cuda/attention_shape.h"
#include "backends/cuda/distance_table.h"
#include "backends/cuda/ops.h"
#include "backends/relative_positions.h"

namespace quern::backends::cuda {
namespace {

/// Which position every distance query − key has, from −(max_rows − 1) on.
std::vector<std::int32_t> positions_by_distance(const graph::Disentangled& disentangled,
                                                std::int64_t span, std::int64_t max_rows) {
  std::vector<std::int32_t> positions;
  for (std::int64_t distance = 1 - max_rows; distance < max_rows; ++distance) {
    const std::int64_t bucket =
        log_bucket(distance, disentangled.n_buckets, disentangled.max_distance);
    positions.push_back(
        static_cast<std::int32_t>(std::clamp<std::int64_t>(bucket + span, 0, 2 * span - 1)));
  }
  return positions;
}

/// The buffers that the op reads; −1: none.
struct Inputs {
  BufferId q, k, v, position_keys, position_queries;
  std::int32_t buckets = -1;
};

AttentionShape shape_of(const Lowering& lowering, const graph::EncoderAttentionOp& op) {
  AttentionShape shape{};
  const std::int64_t head_dim = lowering.value(op.q).cols / op.n_heads;
  shape.heads = static_cast<std::int32_t>(op.n_heads);
  shape.kv_heads = static_cast<std::int32_t>(lowering.value(op.k).cols / head_dim);
  shape.head_dim = shape.value_dim = static_cast<std::int32_t>(head_dim);
  shape.window = static_cast<std::int32_t>(op.window);
  shape.causal = op.causal ? 1 : 0;
  shape.scale = op.scale;
  return shape;
}

Inputs inputs_of(Lowering& lowering, const graph::EncoderAttentionOp& op) {
  const auto buffer_or_none = [&](graph::ValueId id) {
    return id == graph::kNone ? BufferId{-1} : lowering.buffer(id);
  };
  const graph::Disentangled& positions = op.disentangled;
  Inputs inputs{lowering.buffer(op.q), lowering.buffer(op.k), lowering.buffer(op.v),
                buffer_or_none(positions.keys), buffer_or_none(positions.queries)};
  const graph::ValueId table = positions.keys != graph::kNone ? positions.keys : positions.queries;
  if (table != graph::kNone) {
    inputs.buckets = lowering.table(positions_by_distance(
        positions, lowering.value(table).count / 2, lowering.options().max_rows));
  }
  return inputs;
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::EncoderAttentionOp& attention,
                graph::ValueId out) {
  const std::int64_t reach = lowering.options().max_rows - 1;
  QUERN_TRY(bias, make_distance_table(lowering, "encoder_attention", attention.bias, reach, reach));
  EncoderAttentionArgs args{};
  args.shape = shape_of(lowering, attention);
  QUERN_CHECK(choose_tile(args.shape, false, "encoder_attention"));
  args.bucket_back = static_cast<std::int32_t>(reach);
  const Inputs in = inputs_of(lowering, attention);
  const BufferId y = lowering.allocate(out);
  const KernelId kernel = lowering.kernel("quern_encoder_attention");
  std::vector<BufferId> reads{in.q, in.k, in.v};
  for (const BufferId id : {in.position_keys, in.position_queries}) {
    if (id >= 0) reads.push_back(id);
  }
  const auto issue = [=, table = bias](const LaunchContext& context) {
    EncoderAttentionArgs own = args;
    own.bias = table.args(context);
    own.starts = context.arrays.starts;
    own.q = context.floats(in.q);
    own.k = context.floats(in.k);
    own.v = context.floats(in.v);
    own.out = context.floats(y);
    if (in.position_keys >= 0) own.position_keys = context.floats(in.position_keys);
    if (in.position_queries >= 0) own.position_queries = context.floats(in.position_queries);
    if (in.buckets >= 0) own.buckets = context.table<std::int32_t>(in.buckets);
    own.sequences = static_cast<std::int32_t>(context.sequences);
    if (own.sequences == 0) return Status();
    return context.launch(kernel, attention_grid(own.shape, context.rows, context.sequences, 1),
                          {kAttentionThreads, 1, 1}, own,
                          static_cast<std::uint32_t>(AttentionMemory(false, own.shape).end));
  };
  lowering.add(nullptr, reads, {y}, issue);
  return {};
}

}  // namespace quern::backends::cuda
