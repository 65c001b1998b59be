#include "backends/cuda/linear.h"

#include "backends/cuda/ops.h"

namespace quern::backends::cuda {
namespace {

std::uint32_t grid(std::int64_t n) { return static_cast<std::uint32_t>(n); }

/// Tiles of 8 rows that rows need: each segment's last one may be ragged.
std::int64_t tiles_for(std::int64_t rows, const Segments& segments) {
  if (segments.row == nullptr) return ceil_div(rows, kTileRows);
  return rows / kTileRows + std::min(segments.count, rows);
}

}  // namespace

std::int64_t packed_tile_bytes(RowFormat format, std::int64_t cols) noexcept {
  switch (format) {
    case RowFormat::kQ8Group32:
      return ceil_div(cols, 32) * kGroupRecord;
    case RowFormat::kQ8Rotated:
      return ceil_div(cols, 64) * 2 * kCodeRecord + kTileRows * 4;
    case RowFormat::kF32:
      break;
  }
  return 0;
}

WeightArgs weight_args(const quant::TensorView& view) {
  const EncodingInfo& info = *find_encoding(view.encoding);
  const auto rows = static_cast<std::uint64_t>(view.rows);
  const auto cols = static_cast<std::uint64_t>(view.cols);
  WeightArgs args{};
  args.n = view.rows;
  args.k = view.cols;
  if (view.layout != Layout::kPanel16) return args;
  args.panel_bytes = static_cast<std::int64_t>(panel_bytes(info, cols).value_or(0));
  args.matrix_bytes =
      static_cast<std::int64_t>(tensor_bytes(info, view.layout, rows, cols).value_or(0));
  for (int i = 0; i < 4; ++i)
    args.stream[i] = static_cast<std::int32_t>(stream_offset(info, cols, i).value_or(0));
  return args;
}

PackCall::PackCall(Lowering& lowering, RowFormat format, std::int64_t cols)
    : kernel_(lowering.kernel(format == RowFormat::kQ8Rotated ? "quern_pack_rotated"
                                                              : "quern_pack_group")),
      format_(format),
      cols_(cols) {}

Status PackCall::issue(const LaunchContext& context, const float* x, std::int64_t rows,
                       const Segments& segments, std::byte* out) const {
  const PackArgs args{x,
                      out,
                      rows,
                      cols_,
                      packed_tile_bytes(format_, cols_),
                      segments.row,
                      segments.tile,
                      static_cast<std::int32_t>(segments.count)};
  const std::uint32_t padded = grid(tiles_for(rows, segments) * kTileRows);
  const bool rotated = format_ == RowFormat::kQ8Rotated;
  const Dim3 blocks{padded, rotated ? 1 : grid(ceil_div(cols_, 256)), 1};
  return context.launch(kernel_, blocks, {256, 1, 1}, args);
}

void add_pack(Lowering& lowering, graph::ValueId id, RowFormat format, BufferId out) {
  const BufferId x = lowering.buffer(id);
  const graph::Value& value = lowering.value(id);
  const PackCall call(lowering, format, value.cols);
  lowering.add("pack", {x}, {out}, [=, &value](const LaunchContext& context) {
    return call.issue(context, context.floats(x), context.count(value), {}, context.bytes(out));
  });
}

Result<LinearCall> LinearCall::create(Lowering& lowering, graph::WeightId weight,
                                      graph::WeightId bias, const char* op) {
  const graph::Weight& matrix = lowering.weight(weight);
  LinearCall call;
  QUERN_TRY(few, lowering.weight_kernel("linear_few", matrix, op));
  QUERN_TRY(many, lowering.weight_kernel("linear_many", matrix, op));
  if (bias != graph::kNone) lowering.weight(bias);
  call.weight_ = weight;
  call.bias_ = bias;
  call.few_ = few;
  call.many_ = many;
  call.format_ = find_encoding(matrix.view.encoding)->rows;
  call.args_ = weight_args(matrix.view);
  return call;
}

Status LinearCall::issue(const LaunchContext& context, const Rows& rows) const {
  LinearArgs args{};
  args.w = args_;
  args.w.data = context.weight(weight_);
  args.x = rows.x;
  args.tile_bytes = packed_tile_bytes(format_, args_.k);
  args.bias = context.vector(bias_);
  args.residual = rows.residual;
  args.y = rows.y;
  args.rows = rows.count;
  args.segment_row = rows.segments.row;
  args.segment_tile = rows.segments.tile;
  const std::int64_t panels = ceil_div(args_.n, 16);
  const bool few = rows.count <= kFewRows;
  const auto matrices = grid(rows.segments.count);
  if (format_ == RowFormat::kF32) {
    const std::int64_t together = few ? 1 : 8;
    return context.launch(
        few ? few_ : many_,
        {grid(ceil_div(rows.count, together)), grid(ceil_div(panels, 8)), matrices}, {128, 1, 1},
        args);
  }
  // A segment may have all of the rows.
  const std::int64_t tiles = ceil_div(rows.count, kTileRows);
  const Dim3 blocks =
      few ? Dim3{grid(panels), grid(tiles), matrices}
          : Dim3{grid(ceil_div(panels, kManyPanels)), grid(ceil_div(tiles, kManyTiles)), matrices};
  return context.launch(few ? few_ : many_, blocks, {256, 1, 1}, args);
}

Status lower_op(Lowering& lowering, const graph::LinearOp& linear, graph::ValueId out) {
  QUERN_TRY(call, LinearCall::create(lowering, linear.weight, linear.bias, "linear"));
  const BufferId x = lowering.packed(linear.x, call.format());
  const bool adds = linear.residual != graph::kNone;
  const BufferId residual = adds ? lowering.buffer(linear.residual) : BufferId{-1};
  const BufferId y = lowering.allocate(out);
  const graph::Value& value = lowering.value(out);
  std::vector<BufferId> reads{x};
  if (adds) reads.push_back(residual);
  lowering.add(nullptr, reads, {y}, [=, &value](const LaunchContext& context) {
    LinearCall::Rows rows{context.bytes(x)};
    rows.residual = adds ? context.floats(residual) : nullptr;
    rows.y = context.floats(y);
    rows.count = context.count(value);
    return call.issue(context, rows);
  });
  return {};
}

}  // namespace quern::backends::cuda
