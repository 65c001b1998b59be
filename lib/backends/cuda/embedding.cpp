// Rows of tables: tokens, positions, types, and whole tables.
#include "backends/cuda/linear.h"
#include "backends/cuda/ops.h"

namespace quern::backends::cuda {
namespace {

/// Which array of the step says the rows; nullptr: none.
using Index = const std::int32_t* StepArrays::*;

struct Lookup {
  graph::WeightId table;
  Index index = nullptr;
  std::int64_t offset = 0;
  bool last_beyond = false;
  float scale = 1.0F;
  std::int64_t first = -1;  ///< As EmbeddingOp's.
};

Status lower_lookup(Lowering& lowering, const Lookup& lookup, graph::ValueId out, const char* op) {
  const graph::Weight& table = lowering.weight(lookup.table);
  KernelId kernel = lowering.kernel("quern_gather_plain");
  if (table.view.layout != Layout::kPlain || table.view.encoding != Encoding::kF32) {
    QUERN_TRY(coded, lowering.weight_kernel("gather", table, op));
    kernel = coded;
  }
  const BufferId y = lowering.allocate(out);
  const graph::Value& value = lowering.value(out);
  GatherArgs args{};
  args.w = weight_args(table.view);
  args.offset = lookup.offset;
  args.last_beyond = lookup.last_beyond;
  args.scale = lookup.scale;
  args.first = lookup.first;
  lowering.add(nullptr, {}, {y}, [=, &value](const LaunchContext& context) {
    GatherArgs own = args;
    own.w.data = context.weight(lookup.table);
    own.index = lookup.index == nullptr ? nullptr : context.arrays.*lookup.index;
    own.positions = context.arrays.positions;
    own.rows = context.count(value);
    own.out = context.floats(y);
    return context.launch(kernel,
                          {static_cast<std::uint32_t>(own.rows),
                           static_cast<std::uint32_t>(ceil_div(own.w.k, 64)), 1},
                          {64, 1, 1}, own);
  });
  return {};
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::EmbeddingOp& embedding, graph::ValueId out) {
  return lower_lookup(
      lowering, {embedding.table, &StepArrays::tokens, 0, false, embedding.scale, embedding.first},
      out, "embedding");
}

Status lower_op(Lowering& lowering, const graph::PositionEmbeddingOp& embedding,
                graph::ValueId out) {
  return lower_lookup(lowering, {embedding.table, &StepArrays::positions, embedding.offset, true},
                      out, "position_embedding");
}

Status lower_op(Lowering& lowering, const graph::TypeEmbeddingOp& embedding, graph::ValueId out) {
  return lower_lookup(lowering, {embedding.table, &StepArrays::types}, out, "type_embedding");
}

Status lower_op(Lowering& lowering, const graph::ConstantRowsOp& op, graph::ValueId out) {
  return lower_lookup(lowering, {op.table}, out, "constant_rows");
}

}  // namespace quern::backends::cuda
