// The driver's functions for memory.
#include <cuda.h>

#include <algorithm>
#include <cstring>

#include "tests/cuda/emulator/machine.h"

namespace quern::cuda_emulator {
namespace {

enum class Side { kHost, kDevice };

bool is_valid(Side side, const void* start, size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  if (side == Side::kDevice) return find_device_memory(address, bytes) != nullptr;
  return start != nullptr && find_device_memory(address, 0) == nullptr;
}

/// A place of a copy. Pinned memory is read and written when the device comes to it, other host
/// memory before the call returns.
struct Place {
  Side side;
  void* start;
  bool is_deferred(size_t bytes) const {
    return side == Side::kDevice || find_pinned_memory(start, bytes) != nullptr;
  }
};

Place host(const void* start) { return {Side::kHost, const_cast<void*>(start)}; }
Place on_device(CUdeviceptr start) { return {Side::kDevice, reinterpret_cast<void*>(start)}; }

CUresult copy(Place to, Place from, size_t bytes, CUstream stream) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_context(); result != CUDA_SUCCESS) return result;
  if (!is_valid(to.side, to.start, bytes) || !is_valid(from.side, from.start, bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const CUresult result = enqueue(stream, [=] {
    // Memory may have been freed since.
    if (!is_valid(to.side, to.start, bytes) || !is_valid(from.side, from.start, bytes)) {
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    std::memmove(to.start, from.start, bytes);
    if (to.side == Side::kHost) machine().counts.bytes_to_host += static_cast<long long>(bytes);
    return CUDA_SUCCESS;
  });
  const bool is_done_now = !to.is_deferred(bytes) || !from.is_deferred(bytes);
  if (result != CUDA_SUCCESS || !is_done_now || is_recording(stream)) return result;
  return drain(*machine().streams.at(stream));
}

CUresult allocate(Memories& memories, size_t bytes, void** start) {
  auto memory = std::make_unique<GuardedMemory>();
  if (!memory->allocate(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  *start = memory->data();
  memories[reinterpret_cast<std::uintptr_t>(*start)] = std::move(memory);
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace quern::cuda_emulator

using namespace quern::cuda_emulator;

extern "C" {

CUresult CUDAAPI cuMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_context(); result != CUDA_SUCCESS) return result;
  *total = static_cast<size_t>(machine().control("memory_bytes"));
  *free = *total - std::min(*total, current_device()->used_bytes);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemAlloc(CUdeviceptr* address, size_t bytes) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_context(); result != CUDA_SUCCESS) return result;
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  Device& device = *current_device();
  const auto total = static_cast<size_t>(machine().control("memory_bytes"));
  if (device.used_bytes > total || bytes > total - device.used_bytes) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  void* start = nullptr;
  const CUresult result = allocate(device.memories, bytes, &start);
  if (result == CUDA_SUCCESS) device.used_bytes += bytes;
  long long& peak = machine().counts.peak_bytes;
  peak = std::max(peak, static_cast<long long>(device.used_bytes));
  *address = reinterpret_cast<CUdeviceptr>(start);
  return result;
}

CUresult CUDAAPI cuMemFree(CUdeviceptr address) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_context(); result != CUDA_SUCCESS) return result;
  Device& device = *current_device();
  const auto found = device.memories.find(address);
  if (found == device.memories.end()) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = drain(device);
  device.used_bytes -= found->second->size();
  device.memories.erase(found);
  return result;
}

CUresult CUDAAPI cuMemHostAlloc(void** start, size_t bytes, unsigned) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_context(); result != CUDA_SUCCESS) return result;
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  return allocate(current_device()->pinned, bytes, start);
}

CUresult CUDAAPI cuMemFreeHost(void* start) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_context(); result != CUDA_SUCCESS) return result;
  const bool is_known =
      current_device()->pinned.erase(reinterpret_cast<std::uintptr_t>(start)) == 1;
  return is_known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes,
                                   CUstream stream) {
  return copy(on_device(to), host(from), bytes, stream);
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return copy(host(to), on_device(from), bytes, stream);
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                   CUstream stream) {
  if (to < from + bytes && from < to + bytes) return CUDA_ERROR_INVALID_VALUE;
  return copy(on_device(to), on_device(from), bytes, stream);
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr start, unsigned char value, size_t bytes,
                                 CUstream stream) {
  const std::lock_guard lock(machine().mutex);
  if (const CUresult result = check_context(); result != CUDA_SUCCESS) return result;
  if (find_device_memory(start, bytes) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(stream, [=] {
    if (find_device_memory(start, bytes) == nullptr) return CUDA_ERROR_ILLEGAL_ADDRESS;
    std::memset(reinterpret_cast<void*>(start), value, bytes);
    return CUDA_SUCCESS;
  });
}

}  // extern "C"
