/// \file
/// Matrix products and what they read: shared by the ops that have matrices.
#pragma once

#include "backends/cuda/kernels/linear_args.h"
#include "backends/cuda/lowering.h"

namespace quern::backends::cuda {

/// Bytes of a tile of 8 packed rows; of kF32, which is not packed, 0.
std::int64_t packed_tile_bytes(RowFormat format, std::int64_t cols) noexcept;

/// A matrix as kernels take it, without its address.
WeightArgs weight_args(const quant::TensorView& view);

/// Adds the step that packs a value into `out`.
void add_pack(Lowering& lowering, graph::ValueId id, RowFormat format, BufferId out);

/// Rows sorted by matrix, for products with several matrices (experts).
struct Segments {
  const std::int32_t* row = nullptr;   ///< `[count + 1]`: first row of each.
  const std::int32_t* tile = nullptr;  ///< `[count]`: first tile of each.
  std::int64_t count = 1;
};

/// Packs float32 rows `[rows, cols]` into tiles of one format; with segments each one's rows begin
/// a tile.
class PackCall {
 public:
  /// \pre format is not kF32
  PackCall(Lowering& lowering, RowFormat format, std::int64_t cols);
  Status issue(const LaunchContext& context, const float* x, std::int64_t rows,
               const Segments& segments, std::byte* out) const;

 private:
  KernelId kernel_;
  RowFormat format_;
  std::int64_t cols_;
};

/// The product with a weight.
class LinearCall {
 public:
  /// kUnsupported naming `op` for an encoding without kernels.
  static Result<LinearCall> create(Lowering& lowering, graph::WeightId weight, graph::WeightId bias,
                                   const char* op);

  struct Rows {
    const std::byte* x;  ///< Packed in format(), or float32 rows.
    const float* residual = nullptr;
    float* y = nullptr;
    std::int64_t count = 0;
    Segments segments = {};
  };
  Status issue(const LaunchContext& context, const Rows& rows) const;
  RowFormat format() const noexcept { return format_; }

 private:
  graph::WeightId weight_, bias_;
  KernelId few_, many_;
  RowFormat format_;
  WeightArgs args_;
};

}  // namespace quern::backends::cuda
