// The driver's functions for devices, contexts and errors.
#include <cuda.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "tests/cuda/emulator/machine.h"

namespace quern::cuda_emulator {
namespace {

thread_local std::vector<CUcontext> contexts;

Device* device_of(CUcontext context) {
  for (Device& device : machine().devices) {
    if (reinterpret_cast<CUcontext>(&device) == context && device.n_retained > 0) return &device;
  }
  return nullptr;
}

CUresult check_device(CUdevice device) {
  if (!machine().is_initialised) return CUDA_ERROR_NOT_INITIALIZED;
  return device >= 0 && device < machine().control("n_devices") ? CUDA_SUCCESS
                                                                : CUDA_ERROR_INVALID_DEVICE;
}

struct ErrorText {
  CUresult result;
  const char* name;
  const char* text;
};

#define QUERN_EMULATED_ERROR(result, text) \
  ErrorText { result, #result, text }
constexpr ErrorText kErrors[] = {
    QUERN_EMULATED_ERROR(CUDA_SUCCESS, "no error"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_STUB_LIBRARY, "CUDA driver is a stub library"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
                         "system has unsupported display driver / cuda driver combination"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_NO_BINARY_FOR_GPU,
                         "no kernel image is available for execution on the device"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_ILLEGAL_STATE,
                         "the operation cannot be performed in the present state"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                         "operation not permitted when stream is capturing"),
    QUERN_EMULATED_ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
                         "operation failed due to a previous error during capture")};
#undef QUERN_EMULATED_ERROR

CUresult find_error(CUresult error, const char** out, const char* ErrorText::*member) {
  const auto found = std::find_if(std::begin(kErrors), std::end(kErrors),
                                  [&](const ErrorText& known) { return known.result == error; });
  *out = found == std::end(kErrors) ? nullptr : (*found).*member;
  return found == std::end(kErrors) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // namespace

Device* current_device() { return contexts.empty() ? nullptr : device_of(contexts.back()); }

CUresult check_context() {
  const Device* device = current_device();
  return device == nullptr ? CUDA_ERROR_INVALID_CONTEXT : device->lost;
}

}  // namespace quern::cuda_emulator

using namespace quern::cuda_emulator;

extern "C" {

CUresult CUDAAPI cuGetErrorName(CUresult error, const char** text) {
  return find_error(error, text, &ErrorText::name);
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char** text) {
  return find_error(error, text, &ErrorText::text);
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  const std::lock_guard lock(machine().mutex);
  *version = static_cast<int>(machine().control("driver_version"));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuInit(unsigned flags) {
  const std::lock_guard lock(machine().mutex);
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const long long refusal = machine().control("start_result");
  if (refusal != CUDA_SUCCESS) return static_cast<CUresult>(refusal);
  if (machine().control("n_devices") == 0) return CUDA_ERROR_NO_DEVICE;
  machine().is_initialised = true;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  const std::lock_guard lock(machine().mutex);
  if (!machine().is_initialised) return CUDA_ERROR_NOT_INITIALIZED;
  *count = static_cast<int>(machine().control("n_devices"));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  const std::lock_guard lock(machine().mutex);
  *device = ordinal;
  return check_device(ordinal);
}

CUresult CUDAAPI cuDeviceGetName(char* name, int bytes, CUdevice device) {
  const std::lock_guard lock(machine().mutex);
  if (bytes < 1) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(name, static_cast<size_t>(bytes), "emulated device %d", device);
  return check_device(device);
}

CUresult CUDAAPI cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  const std::lock_guard lock(machine().mutex);
  *bytes = static_cast<size_t>(machine().control("memory_bytes"));
  return check_device(device);
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice device) {
  const std::lock_guard lock(machine().mutex);
  const int capability = static_cast<int>(machine().control("compute_capability"));
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = capability / 10;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = capability % 10;
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = 4;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = static_cast<int>(machine().control("shared_bytes"));
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return check_device(device);
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_device(device); result != CUDA_SUCCESS) return result;
  Device& retained = machine().devices[static_cast<size_t>(device)];
  ++retained.n_retained;
  *context = reinterpret_cast<CUcontext>(&retained);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_device(device); result != CUDA_SUCCESS) return result;
  Device& released = machine().devices[static_cast<size_t>(device)];
  if (released.n_retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--released.n_retained == 0) {
    // All that belonged to the context goes with it.
    const auto is_its = [&](const auto& entry) { return entry.second->device == &released; };
    const auto n_left = std::erase_if(machine().streams, is_its) +
                        std::erase_if(machine().modules, is_its) + released.memories.size() +
                        released.pinned.size();
    if (released.lost == CUDA_SUCCESS) machine().counts.leaks += static_cast<long long>(n_left);
    released.memories.clear();
    released.pinned.clear();
    released.used_bytes = 0;
    released.lost = CUDA_SUCCESS;
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext context) {
  const std::lock_guard lock(machine().mutex);
  if (device_of(context) == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  contexts.push_back(context);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext* context) {
  if (contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = contexts.back();
  contexts.pop_back();
  return CUDA_SUCCESS;
}

}  // extern "C"
