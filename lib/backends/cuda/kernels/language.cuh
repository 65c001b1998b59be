/// \file
/// What every .cu file includes first: CUDA as nvcc has it, or the same words in plain C++ for the
/// emulated device of the tests (tests/cuda/emulator), where QUERN_CUDA_EMULATED is defined.
///
/// A kernel takes one trivially copyable struct by value, named `args` in its body:
///
///     struct AddArgs { const float* a; const float* b; float* sum; std::uint32_t n; };
///     QUERN_KERNEL(quern_add, AddArgs) {
///       const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
///       if (i < args.n) args.sum[i] = __fadd_rn(args.a[i], args.b[i]);
///     }
///
/// The kernel's name is what `Device::kernel` looks up, so it is unique in the library. Kernels
/// stand at namespace scope; a kernel of a template is an instance that such a body calls.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(QUERN_CUDA_EMULATED)

#include "tests/cuda/emulator/device_language.h"

#else

/// A kernel; its body follows.
#define QUERN_KERNEL(name, Args) extern "C" __global__ void name(const __grid_constant__ Args args)

/// The same with the largest number of threads in a block, so that its registers fit.
#define QUERN_KERNEL_BOUNDS(name, Args, max_threads) \
  extern "C" __global__ void __launch_bounds__(max_threads) name(const __grid_constant__ Args args)

/// The same, and of registers no more than lets a multiprocessor hold `blocks` of its blocks.
#define QUERN_KERNEL_RESIDENT(name, Args, max_threads, blocks)      \
  extern "C" __global__ void __launch_bounds__(max_threads, blocks) \
      name(const __grid_constant__ Args args)

/// What a function that kernels call begins with.
#define QUERN_DEVICE static __device__ __forceinline__

/// Before a loop whose trip count is a constant: unrolls it.
#define QUERN_UNROLL _Pragma("unroll")

/// A table at namespace scope that every thread reads at the same place (constant memory).
#define QUERN_CONSTANT static __constant__

/// Declares `name`, an unsigned char* to the shared memory whose size the launch gave; aligned to
/// 16 bytes, uninitialised.
#define QUERN_DYNAMIC_SHARED(name)                                            \
  extern __shared__ __align__(16) unsigned char quern_dynamic_shared_bytes[]; \
  unsigned char* const name = quern_dynamic_shared_bytes

#endif

/// What a member or a friend that kernels call begins with.
#if defined(QUERN_CUDA_EMULATED)
#define QUERN_DEVICE_MEMBER inline
#else
#define QUERN_DEVICE_MEMBER __device__ __forceinline__
#endif
