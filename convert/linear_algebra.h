/// \file
/// What calibration needs of LAPACK: OpenBLAS's, loaded by the first call. Only in builds with it.
/// Thread rule: any thread, while a OneThread lives.
#pragma once

#include <cstdint>

#include "quern/result.h"

namespace quern::convert::linear_algebra {

/// kMissing where the library is not installed, kUnsupported where it lacks a function; nothing
/// below does anything then.
Status load();

/// While it lives, the library computes on the calling thread alone: work is divided by our own
/// executor, and results must not depend on a number of threads. The library's setting is global;
/// the last one that goes restores what the first one found. Thread rule: any thread.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
};

/// a `[n, n]`, symmetric, of which the upper triangle is read → the upper triangular u with
/// uᵀu = a⁻¹, in its place; below the diagonal anything. \return false where a is not positive
/// definite in float32: a is spoilt then.
bool cholesky_of_inverse(float* a, std::int64_t n);

}  // namespace quern::convert::linear_algebra
