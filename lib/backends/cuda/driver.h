/// \file
/// NVIDIA's driver library, found at run time: quern links nothing of CUDA.
#pragma once

#include <cuda.h>

#include "base/shared_library.h"
#include "quern/result.h"

namespace quern::backends::cuda {

/// The driver functions that quern calls, by the names of their current versions. Beside the types
/// of <cuda.h>, which also renames some of them by macros.
#define QUERN_CUDA_FUNCTIONS(apply)                                                                \
  apply(cuGetErrorName) apply(cuGetErrorString) apply(cuInit) apply(cuDriverGetVersion) apply(     \
      cuDeviceGetCount) apply(cuDeviceGet) apply(cuDeviceGetName) apply(cuDeviceTotalMem)          \
      apply(cuDeviceGetAttribute) apply(cuDevicePrimaryCtxRetain) apply(cuDevicePrimaryCtxRelease) \
          apply(cuCtxPushCurrent) apply(cuCtxPopCurrent) apply(cuMemGetInfo) apply(cuMemAlloc)     \
              apply(cuMemFree) apply(cuMemHostAlloc) apply(cuMemFreeHost) apply(cuMemcpyHtoDAsync) \
                  apply(cuMemcpyDtoHAsync) apply(cuMemcpyDtoDAsync) apply(cuMemsetD8Async)         \
                      apply(cuModuleLoadData) apply(cuModuleUnload) apply(cuModuleGetFunction)     \
                          apply(cuFuncGetAttribute) apply(cuFuncSetAttribute)                      \
                              apply(cuLaunchKernel) apply(cuStreamCreate) apply(cuStreamDestroy)   \
                                  apply(cuStreamSynchronize) apply(cuStreamBeginCapture)           \
                                      apply(cuStreamEndCapture) apply(cuGraphInstantiateWithFlags) \
                                          apply(cuGraphLaunch) apply(cuGraphDestroy)               \
                                              apply(cuGraphExecDestroy)

/// The driver's functions as pointers. Never unloaded: threads of the driver may run until the
/// process ends. Thread rule: any thread.
class Driver {
 public:
  /// kMissing where the library is not there or finds no device; kUnsupported where it is older
  /// than CUDA 12.0 or lacks a function.
  static Result<Driver> load(const char* file);
  /// The machine's driver, loaded once; a failure is tried again at the next call.
  static Result<const Driver*> instance();

  /// \param what the words after "while", e.g. "copying to the device".
  Status status_of(CUresult result, const char* what) const;
  /// True for a result after which the context answers nothing but that result.
  static bool is_lost(CUresult result) noexcept;

  int version() const noexcept { return version_; }      ///< 1000 · major + 10 · minor.
  int n_devices() const noexcept { return n_devices_; }  ///< At least 1.

#define QUERN_CUDA_MEMBER(function) decltype(&::function) function##_ = nullptr;
  QUERN_CUDA_FUNCTIONS(QUERN_CUDA_MEMBER)
#undef QUERN_CUDA_MEMBER
  /// cuFuncGetParamInfo, which drivers have from CUDA 12.4 on; null before.
  CUresult (*cuFuncGetParamInfo_)(CUfunction, size_t, size_t*, size_t*) = nullptr;

 private:
  Driver() = default;
  Status find_functions(const base::SharedLibrary& library);
  Status find_devices();

  int version_ = 0;
  int n_devices_ = 0;
};

}  // namespace quern::backends::cuda
