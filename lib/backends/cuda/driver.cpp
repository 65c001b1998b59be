#include "backends/cuda/driver.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <string>
#include <type_traits>

namespace quern::backends::cuda {
namespace {

constexpr int kOldestVersion = 12000;

// The name after <cuda.h> has replaced it by that of its current version.
#define QUERN_CUDA_SYMBOL(function) QUERN_CUDA_TEXT(function)
#define QUERN_CUDA_TEXT(function) #function

std::string version_text(int version) {
  return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// The kernels were built for other devices or for newer drivers, which may know no more of their
/// image than that it is none.
bool is_unsuitable(CUresult result) {
  constexpr std::array kResults = {CUDA_ERROR_INVALID_IMAGE,
                                   CUDA_ERROR_NO_BINARY_FOR_GPU,
                                   CUDA_ERROR_INVALID_PTX,
                                   CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
                                   CUDA_ERROR_JIT_COMPILER_NOT_FOUND,
                                   CUDA_ERROR_JIT_COMPILATION_DISABLED};
  return std::find(kResults.begin(), kResults.end(), result) != kResults.end();
}

}  // namespace

bool Driver::is_lost(CUresult result) noexcept {
  constexpr std::array kResults = {CUDA_ERROR_DEINITIALIZED,
                                   CUDA_ERROR_ECC_UNCORRECTABLE,
                                   CUDA_ERROR_NVLINK_UNCORRECTABLE,
                                   CUDA_ERROR_ILLEGAL_ADDRESS,
                                   CUDA_ERROR_LAUNCH_TIMEOUT,
                                   CUDA_ERROR_CONTEXT_IS_DESTROYED,
                                   CUDA_ERROR_ASSERT,
                                   CUDA_ERROR_HARDWARE_STACK_ERROR,
                                   CUDA_ERROR_ILLEGAL_INSTRUCTION,
                                   CUDA_ERROR_MISALIGNED_ADDRESS,
                                   CUDA_ERROR_INVALID_ADDRESS_SPACE,
                                   CUDA_ERROR_INVALID_PC,
                                   CUDA_ERROR_LAUNCH_FAILED,
                                   CUDA_ERROR_UNKNOWN};
  // What else ends the context, and older headers have no names for: a contained error, leaked
  // tensor memory, a terminated client of MPS, an error of an external device.
  constexpr std::array kNumbers = {226, 721, 810, 911};
  return std::find(kResults.begin(), kResults.end(), result) != kResults.end() ||
         std::find(kNumbers.begin(), kNumbers.end(), static_cast<int>(result)) != kNumbers.end();
}

Status Driver::status_of(CUresult result, const char* what) const {
  if (result == CUDA_SUCCESS) return {};
  const char* name = nullptr;
  const char* text = nullptr;
  if (cuGetErrorName_(result, &name) != CUDA_SUCCESS || name == nullptr) name = "an unknown error";
  if (cuGetErrorString_(result, &text) != CUDA_SUCCESS || text == nullptr) text = "no description";
  std::string found = name + (" " + std::to_string(static_cast<int>(result))) + ": " + text;
  const std::string doing = std::string(" while ") + what;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    return Error(ErrorCode::kOutOfMemory, "the device's memory ran out" + doing)
        .of("device")
        .got(std::move(found));
  }
  if (is_lost(result)) {
    return Error(ErrorCode::kIo, "the device was lost" + doing).of("device").got(std::move(found));
  }
  if (is_unsuitable(result)) {
    return Error(ErrorCode::kUnsupported, "the device cannot run the kernels of this build" + doing)
        .of("device")
        .got(std::move(found));
  }
  return Error(ErrorCode::kInternal, "the CUDA driver refused" + doing)
      .of("device")
      .got(std::move(found));
}

Status Driver::find_functions(const base::SharedLibrary& library) {
#define QUERN_CUDA_FIND(function) \
  QUERN_CHECK(library.find(QUERN_CUDA_SYMBOL(function), function##_));
  QUERN_CUDA_FUNCTIONS(QUERN_CUDA_FIND)
#undef QUERN_CUDA_FIND
  cuFuncGetParamInfo_ =
      library.find<std::remove_pointer_t<decltype(cuFuncGetParamInfo_)>>("cuFuncGetParamInfo");
  return {};
}

Status Driver::find_devices() {
  QUERN_CHECK(status_of(cuDriverGetVersion_(&version_), "reading its version"));
  if (version_ < kOldestVersion) {
    return Error(ErrorCode::kUnsupported, "the CUDA driver is too old")
        .of("driver version")
        .want(version_text(kOldestVersion) + " or newer")
        .got(version_text(version_));
  }
  const CUresult started = cuInit_(0);
  if (started == CUDA_SUCCESS) {
    QUERN_CHECK(status_of(cuDeviceGetCount_(&n_devices_), "counting devices"));
  }
  if (started == CUDA_ERROR_NO_DEVICE || (started == CUDA_SUCCESS && n_devices_ == 0)) {
    return Error(ErrorCode::kMissing, "the machine has no CUDA device")
        .of("device")
        .want("a GPU of compute capability 8.0 or higher that this process may see")
        .got("none");
  }
  if (started == CUDA_SUCCESS) return {};
  const char* name = nullptr;
  const bool is_named = cuGetErrorName_(started, &name) == CUDA_SUCCESS && name != nullptr;
  const std::string found = is_named ? name : std::to_string(static_cast<int>(started));
  if (started == CUDA_ERROR_STUB_LIBRARY)
    return Error(ErrorCode::kMissing, "the CUDA driver is not installed: its library is a stub")
        .of("cuInit")
        .got(found);
  if (started == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH ||
      started == CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE)
    return Error(ErrorCode::kUnsupported, "the CUDA driver's library does not fit the system")
        .of("cuInit")
        .want("the library that came with the driver in the kernel")
        .got(found);
  return Error(ErrorCode::kIo, "the CUDA driver did not start").of("cuInit").got(found);
}

Result<Driver> Driver::load(const char* file) {
  QUERN_TRY(library, base::SharedLibrary::open(file, "the CUDA driver", "driver"));
  Driver driver;
  QUERN_CHECK(driver.find_functions(library));
  QUERN_CHECK(driver.find_devices());
  return driver;
}

Result<const Driver*> Driver::instance() {
  static std::mutex mutex;
  static Driver driver;
  static bool is_loaded = false;
  const std::lock_guard lock(mutex);
  if (!is_loaded) {
    QUERN_TRY(loaded, load("libcuda.so.1"));
    driver = loaded;
    is_loaded = true;
  }
  return &std::as_const(driver);
}

}  // namespace quern::backends::cuda
