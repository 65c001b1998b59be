/// \file
/// CUDA's device language in plain C++, as far as quern's kernels use it. Included by
/// lib/backends/cuda/kernels/language.cuh only. Operations of one rounding are the ones that IEEE
/// 754 defines, so that they give the same bits as on a device.
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/cuda/emulator/access.h"
#include "tests/cuda/emulator/block.h"
#include "tests/cuda/emulator/vector_types.h"

#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __shared__ static  // Blocks run one after another.
#define __align__(n) alignas(n)

#define QUERN_KERNEL_BOUNDS(name, Args, max_threads)                                        \
  static void name(const Args& args);                                                       \
  static_assert(std::is_trivially_copyable_v<Args>, "a kernel's arguments are plain data"); \
  static const ::quern::cuda_emulator::KernelEntry name##_entry(                            \
      #name, __FILE__, sizeof(Args), max_threads,                                           \
      [](const void* given) { name(*static_cast<const Args*>(given)); });                   \
  static void name([[maybe_unused]] const Args& args)
#define QUERN_KERNEL(name, Args) QUERN_KERNEL_BOUNDS(name, Args, 1024)
#define QUERN_KERNEL_RESIDENT(name, Args, max_threads, blocks) \
  QUERN_KERNEL_BOUNDS(name, Args, max_threads)
#define QUERN_DEVICE [[maybe_unused]] static inline
#define QUERN_UNROLL
#define QUERN_CONSTANT [[maybe_unused]] static const
#define QUERN_DYNAMIC_SHARED(name) \
  unsigned char* const name = ::quern::cuda_emulator::dynamic_shared

#pragma GCC visibility push(hidden)  // Read without a detour.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
#pragma GCC visibility pop
constexpr int warpSize = 32;

// Arithmetic of one rounding.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0F / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

// Bits and conversions.
inline unsigned __float_as_uint(float a) { return std::bit_cast<unsigned>(a); }
inline int __float_as_int(float a) { return std::bit_cast<int>(a); }
inline float __uint_as_float(unsigned a) { return std::bit_cast<float>(a); }
inline float __int_as_float(int a) { return std::bit_cast<float>(a); }
inline long long __double_as_longlong(double a) { return std::bit_cast<long long>(a); }
inline double __longlong_as_double(long long a) { return std::bit_cast<double>(a); }

namespace quern::cuda_emulator {

/// To a whole number, saturating; not a number gives 0 (PTX cvt to 32 bits).
template <class Int>
Int to_whole(double whole) {
  constexpr double kMost = std::is_signed_v<Int> ? 2147483647.0 : 4294967295.0;
  constexpr double kLeast = std::is_signed_v<Int> ? -2147483648.0 : 0.0;
  if (!(whole == whole)) return 0;
  return static_cast<Int>(whole > kMost ? kMost : whole < kLeast ? kLeast : whole);
}

}  // namespace quern::cuda_emulator

inline int __float2int_rn(float a) { return quern::cuda_emulator::to_whole<int>(rint(a)); }
inline int __float2int_rz(float a) { return quern::cuda_emulator::to_whole<int>(trunc(a)); }
inline int __float2int_rd(float a) { return quern::cuda_emulator::to_whole<int>(floor(a)); }
inline int __float2int_ru(float a) { return quern::cuda_emulator::to_whole<int>(ceil(a)); }
inline unsigned __float2uint_rn(float a) {
  return quern::cuda_emulator::to_whole<unsigned>(rint(a));
}
inline unsigned __float2uint_rz(float a) {
  return quern::cuda_emulator::to_whole<unsigned>(trunc(a));
}
inline int __double2int_rn(double a) { return quern::cuda_emulator::to_whole<int>(rint(a)); }
inline int __double2int_rz(double a) { return quern::cuda_emulator::to_whole<int>(trunc(a)); }
inline float __int2float_rn(int a) { return static_cast<float>(a); }
inline float __uint2float_rn(unsigned a) { return static_cast<float>(a); }
inline double __int2double_rn(int a) { return a; }
inline double __uint2double_rn(unsigned a) { return a; }
inline float __double2float_rn(double a) { return static_cast<float>(a); }

// Whole numbers.
inline int __clz(int a) { return std::countl_zero(static_cast<unsigned>(a)); }
inline int __clzll(long long a) { return std::countl_zero(static_cast<unsigned long long>(a)); }
inline int __popc(unsigned a) { return std::popcount(a); }
inline int __ffs(int a) { return a == 0 ? 0 : std::countr_zero(static_cast<unsigned>(a)) + 1; }
inline int __mulhi(int a, int b) { return static_cast<int>((1LL * a * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((1ULL * a * b) >> 32);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((1ULL * high << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((1ULL * high << 32 | low) >> (shift & 31));
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const unsigned long long bytes = 1ULL * b << 32 | a;
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned pick = selector >> (4 * i);
    const auto byte = static_cast<std::uint8_t>(bytes >> (8 * (pick & 7)));
    const unsigned sign = (byte & 0x80U) != 0 ? 0xffU : 0U;
    out |= ((pick & 8) != 0 ? sign : byte) << (8 * i);
  }
  return out;
}
inline int __dp4a(int a, int b, int c) {
  auto sum = static_cast<unsigned>(c);
  for (int i = 0; i < 32; i += 8) {
    const int product = static_cast<std::int8_t>(a >> i) * static_cast<std::int8_t>(b >> i);
    sum += static_cast<unsigned>(product);
  }
  return static_cast<int>(sum);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) {
    c += ((a >> i) & 0xffU) * ((b >> i) & 0xffU);
  }
  return c;
}
inline unsigned __vadd4(unsigned a, unsigned b) {
  return ((a & 0x7f7f7f7fU) + (b & 0x7f7f7f7fU)) ^ ((a ^ b) & 0x80808080U);
}
inline unsigned __vsub4(unsigned a, unsigned b) {
  return ((a | 0x80808080U) - (b & 0x7f7f7f7fU)) ^ ((a ^ ~b) & 0x80808080U);
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
inline unsigned long min(unsigned long a, unsigned long b) { return a < b ? a : b; }
inline unsigned long max(unsigned long a, unsigned long b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

// Memory. Threads take turns, so that plain memory operations are atomic.
namespace quern::cuda_emulator {

template <class T, class Change>
__attribute__((noinline, no_sanitize("thread"))) T read_then(T* address, Change&& change) {
  note_atomic(address, sizeof(T));
  const T before = *address;
  *address = change(before);
  return before;
}

}  // namespace quern::cuda_emulator

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_same_v<T, float> || std::is_unsigned_v<T> || std::is_same_v<T, int>);
  if constexpr (std::is_same_v<T, int>) {
    return quern::cuda_emulator::read_then(address, [&](int before) {
      return static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value));
    });
  } else {
    return quern::cuda_emulator::read_then(address, [&](T before) { return before + value; });
  }
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return quern::cuda_emulator::read_then(address, [&](T before) { return max(before, value); });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return quern::cuda_emulator::read_then(address, [&](T before) { return min(before, value); });
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return quern::cuda_emulator::read_then(address, [&](T before) { return before | value; });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return quern::cuda_emulator::read_then(address, [&](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return quern::cuda_emulator::read_then(
      address, [&](T before) { return before == expected ? value : before; });
}
template <class T>
T __ldg(const T* address) {
  return *address;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// Barriers.
inline void __syncthreads() { quern::cuda_emulator::block_barrier(false); }
inline int __syncthreads_count(int vote) {
  return static_cast<int>(quern::cuda_emulator::block_barrier(vote != 0));
}
inline int __syncthreads_or(int vote) { return __syncthreads_count(vote) != 0 ? 1 : 0; }
inline int __syncthreads_and(int vote) { return __syncthreads_count(vote == 0) == 0 ? 1 : 0; }

namespace quern::cuda_emulator {

template <class T>
T take(const Payload& payload) {
  T value;
  std::memcpy(&value, payload.words, sizeof(T));
  return value;
}

/// The value of the lane `source`, which has to be in `mask`.
template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  constexpr unsigned kWords = sizeof(T) / 4;
  unsigned mine[kWords];
  std::memcpy(mine, &value, sizeof(T));
  if ((mask >> source & 1U) == 0) fail_launch("a shuffle reads a lane outside of its mask");
  return take<T>(exchange(mask, Collective::kShuffle, mine, kWords)[source]);
}

/// The lanes of `mask` that voted yes.
inline unsigned ballot(unsigned mask, bool vote) {
  const unsigned mine = vote ? 1 : 0;
  const Payload* votes = exchange(mask, Collective::kVote, &mine, 1);
  unsigned lanes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1U) != 0 && votes[lane].words[0] == 1) lanes |= 1U << lane;
  }
  return lanes;
}

/// The first and last lane of the segment of `width` lanes that the running lane is in.
struct Segment {
  explicit Segment(int width)
      : lane(static_cast<int>(lane_of_thread())),
        first(lane & ~(width - 1)),
        last(first + width - 1) {}
  int lane, first, last;
};

}  // namespace quern::cuda_emulator

// Warps.
inline void __syncwarp(unsigned mask = 0xffffffffU) {
  quern::cuda_emulator::exchange(mask, quern::cuda_emulator::Collective::kSync, nullptr, 0);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const quern::cuda_emulator::Segment segment(width);
  return quern::cuda_emulator::shuffle(mask, value, segment.first + (source & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  const quern::cuda_emulator::Segment segment(width);
  const int source = segment.lane - static_cast<int>(by);
  return quern::cuda_emulator::shuffle(mask, value, source < segment.first ? segment.lane : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  const quern::cuda_emulator::Segment segment(width);
  const int source = segment.lane + static_cast<int>(by);
  return quern::cuda_emulator::shuffle(mask, value, source > segment.last ? segment.lane : source);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32) {
  const quern::cuda_emulator::Segment segment(width);
  const int source = segment.lane ^ by;
  return quern::cuda_emulator::shuffle(mask, value, source > segment.last ? segment.lane : source);
}
inline unsigned __ballot_sync(unsigned mask, int vote) {
  return quern::cuda_emulator::ballot(mask, vote != 0);
}
inline int __any_sync(unsigned mask, int vote) {
  return quern::cuda_emulator::ballot(mask, vote != 0) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int vote) {
  return quern::cuda_emulator::ballot(mask, vote == 0) == 0 ? 1 : 0;
}
