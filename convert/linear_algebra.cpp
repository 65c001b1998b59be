#include "convert/linear_algebra.h"

#include <mutex>

#include "base/shared_library.h"

namespace quern::convert::linear_algebra {
namespace {

/// LAPACK as Fortran has it (column-major: its lower triangle is our upper one), and OpenBLAS's
/// own setting. Loaded where calibration begins: a process that only runs models starts without.
struct Functions {
  void (*spotrf)(const char* uplo, const int* n, float* a, const int* lda, int* info) = nullptr;
  void (*spotri)(const char* uplo, const int* n, float* a, const int* lda, int* info) = nullptr;
  int (*get_num_threads)() = nullptr;
  void (*set_num_threads)(int threads) = nullptr;

  static Result<Functions> find() {
    QUERN_TRY(library, base::SharedLibrary::open("libopenblas.so.0", "OpenBLAS", "calibrate"));
    Functions found;
    QUERN_CHECK(library.find("spotrf_", found.spotrf));
    QUERN_CHECK(library.find("spotri_", found.spotri));
    QUERN_CHECK(library.find("openblas_get_num_threads", found.get_num_threads));
    QUERN_CHECK(library.find("openblas_set_num_threads", found.set_num_threads));
    return found;
  }
};

const Result<Functions>& functions() {
  static const Result<Functions> kFunctions = Functions::find();
  return kFunctions;
}

std::mutex threads_mutex;
int users = 0, threads_before = 1;

}  // namespace

Status load() { return functions().ok() ? Status() : functions().error(); }

OneThread::OneThread() {
  const std::lock_guard lock(threads_mutex);
  if (!functions().ok() || users++ > 0) return;
  threads_before = functions()->get_num_threads();
  functions()->set_num_threads(1);
}

OneThread::~OneThread() {
  const std::lock_guard lock(threads_mutex);
  if (functions().ok() && --users == 0) functions()->set_num_threads(threads_before);
}

bool cholesky_of_inverse(float* a, std::int64_t n) {
  if (!functions().ok()) return false;
  const Functions& lapack = *functions();
  const int size = static_cast<int>(n);
  int info = 0;
  lapack.spotrf("L", &size, a, &size, &info);
  if (info != 0) return false;
  lapack.spotri("L", &size, a, &size, &info);
  if (info != 0) return false;
  lapack.spotrf("L", &size, a, &size, &info);
  return info == 0;
}

}  // namespace quern::convert::linear_algebra
