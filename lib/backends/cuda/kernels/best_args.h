/// \file
/// Arguments of ranking: shared by the processor's side and the device's.
///
/// A key holds a value and its place in a row, so that keys order as base::ranks_before does, the
/// best one largest: the upper word is the value's bits, turned so that they order like numbers;
/// the lower word is the place, inverted. What is no number and +infinity count as +infinity, -0 as
/// 0. A key of 0 stands for nothing.
#pragma once

#include <cstdint>

namespace quern::backends::cuda {

/// Values or keys of which a block keeps the best.
inline constexpr int kBestRun = 2048;
inline constexpr std::uint32_t kBestThreads = 256;

/// The best k of every run of kBestRun: of run blockIdx.x of row blockIdx.y.
struct BestArgs {
  const float* values;        ///< `[rows, n]`, or nullptr: keys.
  const std::uint64_t* keys;  ///< `[rows, n]`
  std::uint64_t* best;        ///< `[rows, runs, k]`, the best one first.
  std::int64_t n;
  std::int32_t k;      ///< 1 … width.
  std::int32_t width;  ///< A power of two, at most kBestRun.
};

}  // namespace quern::backends::cuda
