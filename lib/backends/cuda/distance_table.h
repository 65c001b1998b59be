/// \file
/// Biases by distance alone, on the device.
#pragma once

#include "backends/cuda/kernels/attention_args.h"
#include "backends/cuda/lowering.h"

namespace quern::backends::cuda {

/// A bias written out by distance (backends/relative_positions.h) among a program's tables.
struct DistanceTable {
  std::int32_t table = -1;  ///< −1: none.
  std::int64_t back = 0, stride = 0;

  DistanceArgs args(const LaunchContext& context) const {
    return {table < 0 ? nullptr : context.table<float>(table), back, stride};
  }
};

/// The bias for keys up to `back` positions before a query and `ahead` after it; none where `bias`
/// has none. kUnsupported naming `op` for an encoding of its weight that cannot be looked up.
Result<DistanceTable> make_distance_table(Lowering& lowering, const char* op,
                                          const graph::RelativeBias& bias, std::int64_t back,
                                          std::int64_t ahead);

}  // namespace quern::backends::cuda
