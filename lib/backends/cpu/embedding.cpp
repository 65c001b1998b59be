#include <algorithm>

#include "backends/cpu/ops.h"
#include "backends/cpu/unsupported.h"

namespace quern::backends::cpu {
namespace {

class EmbeddingStep final : public Step {
 public:
  /// \param first as EmbeddingOp's.
  EmbeddingStep(const quant::TensorView& table, float scale, std::int64_t first, BufferId out)
      : table_(table), scale_(scale), first_(first), out_(out) {}

  void run(const StepContext& context) const override {
    const auto gather = context.kernels.gather_row[static_cast<std::size_t>(table_.encoding)];
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      float* out = context.floats(out_) + row * table_.cols;
      const std::int64_t token = token_of(context.step, static_cast<std::size_t>(row));
      gather(table_.data, token < table_.rows ? token : 0, table_.cols, out);
      if (scale_ != 1.0F) context.kernels.scale(out, scale_, table_.cols, out);
    }
  }

 private:
  std::int64_t token_of(const backends::StepBinding& step, std::size_t row) const noexcept {
    if (first_ < 0) return step.tokens[row];
    return step.positions[row] == 0 ? first_ : step.tokens[row - 1];
  }

  quant::TensorView table_;
  float scale_;
  std::int64_t first_;
  BufferId out_;
};

/// The position's row of a table; the last one for every position beyond it.
class PositionEmbeddingStep final : public Step {
 public:
  PositionEmbeddingStep(const quant::TensorView& table, std::int64_t offset, BufferId out)
      : table_(table), offset_(offset), out_(out) {}

  void run(const StepContext& context) const override {
    const auto gather = context.kernels.gather_row[static_cast<std::size_t>(table_.encoding)];
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      const std::int64_t at = context.step.positions[static_cast<std::size_t>(row)] + offset_;
      gather(table_.data, std::min(at, table_.rows - 1), table_.cols,
             context.floats(out_) + row * table_.cols);
    }
  }

 private:
  quant::TensorView table_;
  std::int64_t offset_;
  BufferId out_;
};

/// The row of the token's type.
class TypeEmbeddingStep final : public Step {
 public:
  TypeEmbeddingStep(const quant::TensorView& table, BufferId out) : table_(table), out_(out) {}

  void run(const StepContext& context) const override {
    const auto gather = context.kernels.gather_row[static_cast<std::size_t>(table_.encoding)];
    const auto& types = context.step.types;
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      gather(table_.data, types.empty() ? 0 : types[static_cast<std::size_t>(row)], table_.cols,
             context.floats(out_) + row * table_.cols);
    }
  }

 private:
  quant::TensorView table_;
  BufferId out_;
};

/// Decodes a whole table, in a program's first step.
class ConstantRowsStep final : public Step {
 public:
  ConstantRowsStep(const quant::TensorView& table, BufferId out) : table_(table), out_(out) {}

  void run(const StepContext& context) const override {
    const auto gather = context.kernels.gather_row[static_cast<std::size_t>(table_.encoding)];
    for (std::int64_t row = context.row_begin; row < context.row_end; ++row) {
      float* out = context.floats(out_) + row * table_.cols;
      if (table_.layout == Layout::kPlain)  // A float32 vector, as the lowering checks.
        std::copy_n(table_.f32() + row * table_.cols, table_.cols, out);
      else
        gather(table_.data, row, table_.cols, out);
    }
  }

 private:
  quant::TensorView table_;
  BufferId out_;
};

Status check_gather(const Lowering& lowering, const graph::Weight& table, const char* op) {
  if (lowering.kernels().gather_row[static_cast<std::size_t>(table.view.encoding)] == nullptr)
    return unsupported_encoding(op, table);
  return {};
}

}  // namespace

Status lower_op(Lowering& lowering, const graph::EmbeddingOp& embedding, graph::ValueId out) {
  const graph::Weight& table = lowering.weight(embedding.table);
  QUERN_CHECK(check_gather(lowering, table, "embedding"));
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<EmbeddingStep>(table.view, embedding.scale, embedding.first, id),
               {Split::kRows, {}, {id}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::PositionEmbeddingOp& embedding,
                graph::ValueId out) {
  const graph::Weight& table = lowering.weight(embedding.table);
  QUERN_CHECK(check_gather(lowering, table, "position_embedding"));
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<PositionEmbeddingStep>(table.view, embedding.offset, id),
               {Split::kRows, {}, {id}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::TypeEmbeddingOp& op, graph::ValueId out) {
  const graph::Weight& table = lowering.weight(op.table);
  QUERN_CHECK(check_gather(lowering, table, "type_embedding"));
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<TypeEmbeddingStep>(table.view, id), {Split::kRows, {}, {id}});
  return {};
}

Status lower_op(Lowering& lowering, const graph::ConstantRowsOp& op, graph::ValueId out) {
  const graph::Weight& table = lowering.weight(op.table);
  const bool plain = table.view.layout == Layout::kPlain;
  if (plain && table.view.encoding != Encoding::kF32)
    return unsupported_encoding("constant_rows", table);
  if (!plain) QUERN_CHECK(check_gather(lowering, table, "constant_rows"));
  const BufferId id = lowering.allocate(out);
  lowering.add(std::make_unique<ConstantRowsStep>(table.view, id),
               by_rows_of(lowering.value(out), {}, {id}));
  return {};
}

}  // namespace quern::backends::cpu
