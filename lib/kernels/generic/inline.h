/// \file
/// Words for the compiler. Everything that an ISA folder includes from here or from generic/ lives
/// in an anonymous namespace or is a template of an ISA's own types: no weak symbol may be shared.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QUERN_INSTRUMENTED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define QUERN_INSTRUMENTED
#endif
#endif

#if defined(__CUDACC__)
// Code for a device (lib/backends/cuda) uses the polynomials too.
#define QUERN_INLINE __host__ __device__ __forceinline__
#define QUERN_INLINE_LAMBDA
#elif defined(_MSC_VER)
#define QUERN_INLINE __forceinline
#define QUERN_INLINE_LAMBDA
#elif defined(QUERN_INSTRUMENTED)
// Instrumented code compiles ten times as fast where it is not forced into its callers.
#define QUERN_INLINE inline
#define QUERN_INLINE_LAMBDA
#else
#define QUERN_INLINE __attribute__((always_inline)) inline
#define QUERN_INLINE_LAMBDA __attribute__((always_inline))
#endif

/// A function that runs once: it lies apart from those that run often, so that no page of kernels
/// of other instruction sets is mapped because of it.
#if defined(_MSC_VER)
#define QUERN_COLD
#else
#define QUERN_COLD __attribute__((cold))
#endif
