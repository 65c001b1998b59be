/// \file
/// How attention is cut into blocks of the device.
#pragma once

#include "backends/cuda/kernels/attention_args.h"
#include "backends/cuda/lowering.h"

namespace quern::backends::cuda {

/// Shared memory of a block that every device has without asking.
inline constexpr std::int32_t kMostSharedBytes = 48 * 1024;

/// Completes a shape with the largest tile whose block fits. kUnsupported naming `op` where none
/// does: value_dim or head_dim is too large.
Status choose_tile(AttentionShape& shape, bool coded, const char* op);

/// One block for each tile: at most rows / tile_rows + sequences of them, by chunks of heads, by
/// `spans`.
Dim3 attention_grid(const AttentionShape& shape, std::int64_t rows, std::int64_t sequences,
                    std::int64_t spans);

}  // namespace quern::backends::cuda
