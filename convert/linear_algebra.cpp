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
