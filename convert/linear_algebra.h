/// \file
/// The few operations on dense float32 matrices that calibration needs, from BLAS and LAPACK. Only
/// in builds with OpenBLAS. Matrices are row-major; `ld` is the distance of rows.
/// Thread rule: any thread, while a OneThread lives.
#pragma once

#include <cstdint>

namespace quern::convert::linear_algebra {

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

/// A matrix that is read.
struct In {
  const float* data;
  std::int64_t ld;
};
/// A matrix that is added to.
struct Out {
  float* data;
  std::int64_t ld;
};

/// c `[m, n]` += factor · a `[m, k]` · b `[k, n]`.
void add_product(std::int64_t m, std::int64_t n, std::int64_t k, float factor, In a, In b, Out c);
/// c `[m, n]` += aᵀ · b, a `[k, m]`, b `[k, n]`.
void add_transposed_product(std::int64_t m, std::int64_t n, std::int64_t k, In a, In b, Out c);

/// y `[n]` += factor · x `[n]`.
void add_scaled(std::int64_t n, float factor, const float* x, float* y);

/// a `[n, n]`, symmetric, of which the upper triangle is read → the upper triangular u with
/// uᵀu = a⁻¹, in its place; below the diagonal anything. \return false where a is not positive
/// definite in float32: a is spoilt then.
bool cholesky_of_inverse(float* a, std::int64_t n);

}  // namespace quern::convert::linear_algebra
