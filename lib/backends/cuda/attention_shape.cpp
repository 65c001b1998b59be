#include "backends/cuda/attention_shape.h"

namespace quern::backends::cuda {

Status choose_tile(AttentionShape& shape, bool coded, const char* op) {
  for (std::int32_t queries = kMostQueries; queries >= kChunk; queries /= 2) {
    shape.tile_queries = queries;
    shape.chunk_heads = std::min(shape.group(), queries);
    if (AttentionMemory(coded, shape).end <= kMostSharedBytes) return {};
  }
  return Error(ErrorCode::kUnsupported, "the cuda backend lacks attention to heads so wide")
      .of(op)
      .want("a tile of " + std::to_string(kChunk) + " queries in " +
            std::to_string(kMostSharedBytes) + " bytes")
      .got("head_dim " + std::to_string(shape.head_dim) + ", value_dim " +
           std::to_string(shape.value_dim));
}

Dim3 attention_grid(const AttentionShape& shape, std::int64_t rows, std::int64_t sequences,
                    std::int64_t spans) {
  return {static_cast<std::uint32_t>(rows / shape.tile_rows() + sequences),
          static_cast<std::uint32_t>(shape.kv_heads * shape.chunks()),
          static_cast<std::uint32_t>(spans)};
}

}  // namespace quern::backends::cuda
