/// \file
/// Where keys and values of a state lie in every sequence, and the arguments of what fills it:
/// shared by the processor's side and the device's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cuda/kernels/step_args.h"

namespace quern::backends::cuda {

/// Constants of a KV state: where its heads lie in a sequence's memory
/// (backends/sequence_layout.h).
struct StateArgs {
  std::int64_t k, v;         ///< Bytes before the first block of head 0.
  std::int64_t head_bytes;   ///< From a head to the next.
  std::int64_t block_bytes;  ///< From a block of a span to the next.
  std::int64_t span_bytes;   ///< From a span of kSpanBlocks blocks to the next.
  std::int32_t heads, head_dim, value_dim;
  bool source;  ///< It lies in the source's memory.
};

/// Appends the keys and values of all rows; a warp for each (row, head).
struct KvStoreArgs {
  StepArrays arrays;
  StateArgs state;
  const float* k;  ///< `[T, heads·head_dim]`
  const float* v;  ///< `[T, heads·value_dim]`
  std::int64_t rows;
};
inline constexpr std::uint32_t kStoreThreads = 128;

}  // namespace quern::backends::cuda
