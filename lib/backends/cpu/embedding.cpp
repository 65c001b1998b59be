#include <cstring>

#include "backends/cpu/ops.h"
#include "backends/cpu/unsupported.h"

namespace quern::backends::cpu {
namespace {

class EmbeddingStep final : public Step {
 public:
  EmbeddingStep(const quant::TensorView& table, float scale, BufferId out)
      : table_(table), scale_(scale), out_(out) {}

  void run(const StepContext& context) const override {
    const auto gather = context.kernels.gather_row[static_cast<std::size_t>(table_.encoding)];
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      float* out = context.floats(out_) + row * table_.cols;
      gather(table_.data, context.step.tokens[static_cast<std::size_t>(row)], table_.cols, out);
      if (scale_ != 1.0F) context.kernels.scale(out, scale_, table_.cols, out);
    }
  }

 private:
  quant::TensorView table_;
  float scale_;
  BufferId out_;
};

/// Copies the rows whose output was asked for.
class SelectRowsStep final : public Step {
 public:
  SelectRowsStep(BufferId x, BufferId out, std::int64_t cols) : x_(x), out_(out), cols_(cols) {}

  void run(const StepContext& context) const override {
    for (std::int64_t i = context.row_begin; i < context.row_end; ++i) {
      const std::int64_t row = context.step.output_rows[static_cast<std::size_t>(i)];
      std::memcpy(context.floats(out_) + i * cols_, context.floats(x_) + row * cols_,
                  static_cast<std::size_t>(cols_) * sizeof(float));
    }
  }

 private:
  BufferId x_, out_;
  std::int64_t cols_;
};

}  // namespace

Status lower_embedding(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const auto& embedding = *std::get_if<graph::EmbeddingOp>(&op);
  const graph::Weight& table = lowering.weight(embedding.table);
  if (lowering.kernels().gather_row[static_cast<std::size_t>(table.view.encoding)] == nullptr) {
    return unsupported_encoding("embedding", table);
  }
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<EmbeddingStep>(table.view, embedding.scale, id),
               {Split::kRows, {}, {id}});
  return {};
}

Status lower_select_rows(Lowering& lowering, const graph::Op& op, graph::ValueId out) {
  const graph::ValueId x = std::get_if<graph::SelectRowsOp>(&op)->x;
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<SelectRowsStep>(lowering.buffer(x), id, lowering.value(x).cols),
               {Split::kOutputs, {lowering.buffer(x)}, {id}});
  return {};
}

}  // namespace quern::backends::cpu
