/// \file
/// Arguments of ops whose state every row of a sequence changes: shared by the processor's side and
/// the device's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cuda/kernels/step_args.h"

namespace quern::backends::cuda {

/// Where a rolling state lies in every sequence.
struct RollingArgs {
  std::int64_t block_bytes;  ///< Per block, of all that lies before the rolling states.
  std::int64_t offset;       ///< Among the rolling states.
};

/// graph::CausalConvOp: first the results, a thread each, then the states of the sequences'
/// columns.
struct CausalConvArgs {
  StepArrays arrays;
  RollingArgs state;
  const float* x;       ///< `[T, cols]`
  const float* weight;  ///< `[cols, kernel]`
  const float* bias;    ///< `[cols]` or nullptr.
  float* out;           ///< `[T, cols]`
  std::int64_t rows, cols;
  std::int32_t kernel;
};

/// graph::ScanOp: half a warp for every column of a sequence, row after row.
struct ScanArgs {
  StepArrays arrays;
  RollingArgs state;
  const float* x;        ///< `[T, heads·head_dim]`
  const float* dt;       ///< `[T, heads]`
  const float* b;        ///< `[T, groups·n]`
  const float* c;        ///< `[T, groups·n]`
  const float* a;        ///< `[heads, rates]`
  const float* skip;     ///< `[heads]`
  const float* dt_bias;  ///< `[heads]` or nullptr.
  float* out;            ///< `[T, heads·head_dim]`
  std::int32_t heads, head_dim, n, groups;
  std::int32_t rates;  ///< 1: one for all of a head's state; else n.
  float dt_min, dt_max;
};
inline constexpr std::uint32_t kScanThreads = 128;
inline constexpr std::int32_t kMostStateDim = 256;  ///< As many as half a warp's registers keep.

}  // namespace quern::backends::cuda
