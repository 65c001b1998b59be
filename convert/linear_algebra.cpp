#include "convert/linear_algebra.h"

#include <cblas.h>

#include <mutex>

// LAPACK as Fortran has it, without the header that OpenBLAS may come without. Column-major: its
// lower triangle is our upper one.
extern "C" {
void spotrf_(const char* uplo, const int* n, float* a, const int* lda, int* info);
void spotri_(const char* uplo, const int* n, float* a, const int* lda, int* info);
}

namespace quern::convert::linear_algebra {
namespace {

std::mutex threads_mutex;
int users = 0, threads_before = 1;

int narrow(std::int64_t n) { return static_cast<int>(n); }

}  // namespace

OneThread::OneThread() {
  const std::lock_guard lock(threads_mutex);
  if (users++ > 0) return;
  threads_before = openblas_get_num_threads();
  openblas_set_num_threads(1);
}

OneThread::~OneThread() {
  const std::lock_guard lock(threads_mutex);
  if (--users == 0) openblas_set_num_threads(threads_before);
}

void add_product(std::int64_t m, std::int64_t n, std::int64_t k, float factor, In a, In b, Out c) {
  if (m == 0 || n == 0 || k == 0) return;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, narrow(m), narrow(n), narrow(k), factor,
              a.data, narrow(a.ld), b.data, narrow(b.ld), 1.0F, c.data, narrow(c.ld));
}

void add_transposed_product(std::int64_t m, std::int64_t n, std::int64_t k, In a, In b, Out c) {
  if (m == 0 || n == 0 || k == 0) return;
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, narrow(m), narrow(n), narrow(k), 1.0F,
              a.data, narrow(a.ld), b.data, narrow(b.ld), 1.0F, c.data, narrow(c.ld));
}

void add_scaled(std::int64_t n, float factor, const float* x, float* y) {
  cblas_saxpy(narrow(n), factor, x, 1, y, 1);
}

bool cholesky_of_inverse(float* a, std::int64_t n) {
  const int size = narrow(n);
  int info = 0;
  spotrf_("L", &size, a, &size, &info);
  if (info != 0) return false;
  spotri_("L", &size, a, &size, &info);
  if (info != 0) return false;
  spotrf_("L", &size, a, &size, &info);
  return info == 0;
}

}  // namespace quern::convert::linear_algebra
