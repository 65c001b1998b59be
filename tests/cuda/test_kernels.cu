// Kernels that show that each word of the language means the same on every device.
#include "backends/cuda/kernels/language.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"
#include "tests/cuda/test_kernels.h"

namespace quern::backends::cuda {

QUERN_CONSTANT float kOffsets[4] = {0.0F, 0.25F, 0.5F, 0.75F};

QUERN_KERNEL(quern_test_fill, FillArgs) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < args.n) args.out[i] = args.value + kOffsets[i % 4];
}

QUERN_KERNEL_BOUNDS(quern_test_reverse, ReverseArgs, 256) {
  __shared__ std::int32_t numbers[256];
  const std::uint32_t first = blockIdx.x * blockDim.x;
  numbers[threadIdx.x] = args.in[first + threadIdx.x];
  __syncthreads();
  args.out[first + threadIdx.x] = numbers[blockDim.x - 1 - threadIdx.x];
}

/// The same through as much dynamic shared memory as the launch gives.
QUERN_KERNEL(quern_test_reverse_dynamic, ReverseArgs) {
  QUERN_DYNAMIC_SHARED(bytes);
  auto* numbers = reinterpret_cast<std::int32_t*>(bytes);
  const std::uint32_t first = blockIdx.x * blockDim.x * 16;
  for (std::uint32_t i = threadIdx.x; i < blockDim.x * 16; i += blockDim.x) {
    numbers[i] = args.in[first + i];
  }
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < blockDim.x * 16; i += blockDim.x) {
    args.out[first + i] = numbers[blockDim.x * 16 - 1 - i];
  }
}

/// Every second warp ends at once; the others still meet at the barrier.
QUERN_KERNEL(quern_test_leave_early, ReverseArgs) {
  __shared__ std::int32_t sums[32];
  const std::uint32_t warp = threadIdx.x / 32;
  if (warp % 2 == 1) return;
  std::int32_t sum = args.in[threadIdx.x];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, step);
  if (threadIdx.x % 32 == 0) sums[warp] = sum;
  __syncthreads();
  args.out[threadIdx.x] = sums[(warp + 2) % (blockDim.x / 32)];
}

QUERN_KERNEL(quern_test_warp, WarpArgs) {
  constexpr std::uint32_t kAll = 0xffffffffU;
  const int lane = static_cast<int>(threadIdx.x);
  const std::int32_t mine = args.in[lane];
  std::int32_t* const out = args.out + lane;
  out[0] = __shfl_sync(kAll, mine, 5);
  out[32] = __shfl_sync(kAll, mine, lane + 3, 8);
  out[64] = __shfl_xor_sync(kAll, mine, 9);
  out[96] = __shfl_down_sync(kAll, mine, 3, 16);
  out[128] = __shfl_up_sync(kAll, mine, 2);
  out[160] = static_cast<std::int32_t>(__ballot_sync(kAll, mine > 0));
  // Halves of the warp meet each among themselves.
  out[192] = 0;
  if (lane < 16) {
    out[192] = __shfl_xor_sync(0x0000ffffU, mine, 1);
  } else {
    out[192] = __any_sync(0xffff0000U, mine == 7) * 2 + __all_sync(0xffff0000U, mine != 7);
  }
  __syncwarp();
  const long long wide = (static_cast<long long>(mine) << 32) + lane;
  out[224] = static_cast<std::int32_t>(__shfl_down_sync(kAll, wide, 1) >> 32);
}

QUERN_KERNEL(quern_test_product, ProductArgs) {
  const std::uint32_t g = threadIdx.x / 4;
  const std::uint32_t t = threadIdx.x % 4;
  std::int32_t d[4];
  std::uint32_t a[4] = {0, 0, 0, 0};
  std::uint32_t b[2] = {0, 0};
  const auto k = static_cast<std::uint32_t>(args.k);
  for (std::uint32_t i = 0; i < 4; ++i) {
    for (std::uint32_t half = 0; half < k / 16; ++half) {
      const std::uint32_t column = 4 * t + i + 16 * half;
      for (std::uint32_t row = 0; row < 2; ++row) {
        const auto value = static_cast<std::uint8_t>(args.a[(g + 8 * row) * k + column]);
        a[2 * half + row] |= static_cast<std::uint32_t>(value) << (8 * i);
      }
      const auto value = static_cast<std::uint8_t>(args.b[column * 8 + g]);
      b[half] |= static_cast<std::uint32_t>(value) << (8 * i);
    }
  }
  if (k == 32) {
    mma_s8_from(kProductStart, d, a, b);
    mma_s8(d, a, b);
  } else {
    mma_s8_k16_from(kProductStart, d, {a[0], a[1]}, {b[0]});
  }
  for (std::uint32_t i = 0; i < 4; ++i) {
    args.d[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = d[i];
  }
}

QUERN_KERNEL(quern_test_arithmetic, ArithmeticArgs) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= args.n) return;
  const float a = args.in[3 * i];
  const float b = args.in[3 * i + 1];
  const float c = args.in[3 * i + 2];
  std::uint32_t* const out = args.out + kArithmeticResults * i;
  out[0] = __float_as_uint(__fmaf_rn(a, b, c));
  out[1] = __float_as_uint(a * b + c);  // Two roundings: nothing is contracted.
  out[2] = __float_as_uint(__fdiv_rn(a, b));
  out[3] = __float_as_uint(__fsqrt_rn(fabsf(a)));
  out[4] = static_cast<std::uint32_t>(__float2int_rn(a));
  out[5] = static_cast<std::uint32_t>(__dp4a(__float_as_int(a), __float_as_int(b), -7));
  out[6] = __byte_perm(__float_as_uint(a), __float_as_uint(b), 0x6b24);
  out[7] = __float_as_uint(static_cast<float>(__fma_rn(a, b, c)));
}

QUERN_KERNEL(quern_test_count, CountArgs) {
  atomicAdd(args.sum, 1);
  atomicMax(args.most, static_cast<int>(blockIdx.x * 1000 + threadIdx.x));
}

QUERN_KERNEL(quern_test_misbehave, MisbehaveArgs) {
  auto* const place = reinterpret_cast<unsigned char*>(args.data) + args.offset;
  if (args.kind == 0) *reinterpret_cast<float*>(place) = 1.0F;
  if (args.kind == 1) *reinterpret_cast<float4*>(place) = make_float4(1.0F, 2.0F, 3.0F, 4.0F);
  if (args.kind == 2 && threadIdx.x == 0) __syncwarp(3);
  if (args.kind == 2 && threadIdx.x == 1) __syncthreads();
  if (args.kind == 3 && threadIdx.x == 0) __syncwarp(3);
  if (args.kind == 3 && threadIdx.x == 1) args.data[0] = __shfl_sync(3, 1.0F, 0);
  if (args.kind < 4) return;
  __shared__ float numbers[64];
  const unsigned other = threadIdx.x ^ (args.kind == 4 ? 32u : 1u);
  numbers[threadIdx.x] = 1.0F;
  if (args.kind == 6) __syncwarp();
  args.data[64 * blockIdx.x + threadIdx.x] = numbers[other];
  if (args.kind == 7) args.data[0] = 1.0F;
}

}  // namespace quern::backends::cuda
