/// \file
/// Words for the compiler. Everything that an ISA folder includes from here or from generic/ lives
/// in an anonymous namespace or is a template of an ISA's own types: no weak symbol may be shared.
#pragma once

#if defined(_MSC_VER)
#define QUERN_INLINE __forceinline
#define QUERN_INLINE_LAMBDA
#define QUERN_RESTRICT __restrict
#else
#define QUERN_INLINE __attribute__((always_inline)) inline
#define QUERN_INLINE_LAMBDA __attribute__((always_inline))
#define QUERN_RESTRICT __restrict__
#endif
