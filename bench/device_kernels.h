/// \file
/// Arguments of the kernels that measure a device.
#pragma once

#include <cstdint>

namespace quern::bench {

struct PeakArgs {
  std::int32_t* out;  ///< One number a block, so that nothing is left out.
  std::int32_t rounds;
};

struct NothingArgs {
  std::int32_t* out;
};

struct ReadArgs {
  const std::uint32_t* from;
  std::int32_t* out;
  std::int64_t words;
};

}  // namespace quern::bench
