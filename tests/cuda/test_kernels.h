/// \file
/// Arguments of the kernels in test_kernels.cu.
#pragma once

#include <cstdint>

namespace quern::backends::cuda {

struct FillArgs {
  float* out;
  std::uint32_t n;
  float value;
};

/// out[block] = in[block] backwards; a block's numbers go through its shared memory.
struct ReverseArgs {
  const std::int32_t* in;
  std::int32_t* out;
};

/// One warp; results of `kWarpResults` operations, 32 numbers each.
constexpr int kWarpResults = 8;
struct WarpArgs {
  const std::int32_t* in;
  std::int32_t* out;
};

/// One warp: d[16, 8] = kProductStart + a[16, k] · b[k, 8], the product twice where k is 32 and
/// once where it is 16; row-major.
constexpr std::int32_t kProductStart = 11;
struct ProductArgs {
  const std::int8_t* a;
  const std::int8_t* b;
  std::int32_t* d;
  std::int32_t k;
};

/// Per thread, `kArithmeticResults` results from three numbers.
constexpr int kArithmeticResults = 8;
struct ArithmeticArgs {
  const float* in;
  std::uint32_t* out;
  std::uint32_t n;
};

struct CountArgs {
  std::int32_t* sum;
  std::int32_t* most;
};

/// What only a device that may be lost is asked to do.
struct MisbehaveArgs {
  float* data;
  std::int64_t offset;  ///< Of what is written, in bytes.
  /// 0 a float, 1 a float4, 2 a deadlock, 3 different operations; races: 4 with another warp, 5
  /// with the same one, 7 with another block. 6 is none, because the warp meets.
  std::int32_t kind;
};

}  // namespace quern::backends::cuda
