/// \file
/// Arguments of ops whose state every row of a sequence changes: shared by the processor's side and
/// the device's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cuda/kernels/step_args.h"

namespace quern::backends::cuda {

/// graph::CausalConvOp: first the results, a thread each, then the states of the sequences'
/// columns.
struct CausalConvArgs {
  StepArrays arrays;
  std::int64_t state;   ///< Bytes before it in every sequence.
  const float* x;       ///< `[T, cols]`
  const float* weight;  ///< `[cols, kernel]`
  const float* bias;    ///< `[cols]` or nullptr.
  float* out;           ///< `[T, cols]`
  std::int64_t rows, cols;
  std::int32_t kernel;
};

inline constexpr std::int32_t kScanBlock = 16, kScanSum = 8;  ///< As ScanArgs of lib/kernels says.
inline constexpr std::int32_t kScanRows = 8;  ///< Rows between two meetings of a block.

/// graph::ScanOp: a block of threads for every kScanBlock columns of a sequence, row after row.
struct ScanArgs {
  StepArrays arrays;
  std::int64_t state;    ///< Bytes before it in every sequence.
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

  constexpr std::int32_t eights() const { return (n + kScanSum - 1) / kScanSum; }
};
inline constexpr std::int32_t kMostStateDim = 256;
inline constexpr std::uint32_t kMostScanThreads = kMostStateDim / kScanSum * kScanBlock;

}  // namespace quern::backends::cuda
