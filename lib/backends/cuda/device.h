/// \file
/// A CUDA device and the kernels that it has loaded.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/driver.h"
#include "quern/result.h"

namespace quern::backends::cuda {

class DeviceBuffer;
class PinnedBuffer;
class Stream;

/// One .cu file as nvcc made it.
struct Module {
  const char* name;   ///< The file's name without folder and extension.
  const void* image;  ///< Starts a fatbin, which knows its own size.
};

/// The modules of quern, one per .cu file of lib/backends/cuda/kernels; made by the build.
std::span<const Module> embedded_modules() noexcept;

/// A kernel of a device. Cheap to copy; valid as long as its device.
class Kernel {
 public:
  const std::string& name() const noexcept { return *name_; }
  /// The most threads that a block of it may have, as its registers allow.
  std::uint32_t max_threads() const noexcept { return max_threads_; }
  /// The most dynamic shared memory that a block of it may have.
  std::uint32_t max_shared_bytes() const noexcept { return max_shared_bytes_; }

 private:
  friend class Device;
  friend class Stream;
  CUfunction function_ = nullptr;
  std::uint32_t max_threads_ = 0;
  std::uint32_t max_shared_bytes_ = 0;
  std::size_t args_bytes_ = 0;  ///< 0 where the driver does not tell (before CUDA 12.4).
  std::shared_ptr<const std::string> name_;
};

/// One device of the machine, with its primary context, shared by all that use it: as long as
/// someone holds it, `open` gives the same object. Once an error has taken the context away, every
/// call says so at once; after all holders have let go, `open` may find a healthy device.
/// Thread rule: any thread, at any time.
class Device : public std::enable_shared_from_this<Device> {
 public:
  /// kMissing without a driver or without that device; kUnsupported where driver or device are too
  /// old (CUDA 12.0, compute capability 8.0); kOutOfMemory, kIo, kInternal from the driver.
  static Result<std::shared_ptr<Device>> open(int ordinal);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  int ordinal() const noexcept { return ordinal_; }
  const std::string& name() const noexcept { return name_; }
  /// Ten times major plus minor, e.g. 90.
  int compute_capability() const noexcept { return compute_capability_; }
  int multiprocessors() const noexcept { return multiprocessors_; }
  /// Shared memory that one block may have, static and dynamic together.
  std::uint64_t max_shared_bytes() const noexcept { return max_shared_bytes_; }
  std::uint64_t total_bytes() const noexcept { return total_bytes_; }
  Result<std::uint64_t> free_bytes();

  /// Uninitialised device memory, aligned to 256 bytes; kOutOfMemory. 0 bytes have address 0.
  Result<DeviceBuffer> allocate(std::uint64_t bytes);
  /// Host memory that the device reads and writes by itself, uninitialised; kOutOfMemory.
  Result<PinnedBuffer> allocate_pinned(std::uint64_t bytes);
  Result<Stream> make_stream();

  /// Looks in every module; kUnsupported where none has the kernel.
  Result<Kernel> kernel(const std::string& name);
  /// More kernels than quern's own; the image stays the caller's and must outlive the call only.
  Status add_module(const Module& module);

  /// Success, or kIo where the device was lost. Costs one load.
  Status check_alive() const;

 private:
  friend class DeviceBuffer;
  friend class PinnedBuffer;
  friend class Stream;
  friend class LaunchGraph;

  Device(const Driver& driver, int ordinal) : driver_(driver), ordinal_(ordinal) {}
  Status start();
  Status read_properties();
  Result<int> attribute(CUdevice_attribute which);
  Result<CUfunction> find_function(const std::string& name);
  Result<Kernel> describe(CUfunction function, const std::string& name);
  Result<std::uint32_t> limit(CUfunction function, CUfunction_attribute which);
  /// The driver's answer as a Status; remembers one that means a lost device.
  Status check(CUresult result, const char* what);
  /// Runs `work` (returning a CUresult) with this device's context current, unless it was lost.
  template <class Work>
  Status call(const char* what, Work&& work);
  /// The same for destructors: what fails fails for a device that was lost, whose memory and work
  /// went with its context. The device remembers it, and who uses it next is told.
  template <class Work>
  void release(Work&& work) noexcept;

  const Driver& driver_;
  const int ordinal_;
  CUdevice handle_ = 0;
  CUcontext context_ = nullptr;
  std::atomic<CUresult> lost_{CUDA_SUCCESS};  ///< What took the context away.
  std::mutex modules_mutex_;
  std::vector<CUmodule> modules_;
  std::string module_names_;  ///< For the error of a missing kernel.
  std::string name_;
  int compute_capability_ = 0;
  int multiprocessors_ = 0;
  std::uint64_t max_shared_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
};

template <class Work>
Status Device::call(const char* what, Work&& work) {
  QUERN_CHECK(check_alive());
  QUERN_CHECK(check(driver_.cuCtxPushCurrent_(context_), what));
  const CUresult result = std::forward<Work>(work)();
  CUcontext popped = nullptr;
  driver_.cuCtxPopCurrent_(&popped);
  return check(result, what);
}

template <class Work>
void Device::release(Work&& work) noexcept {
  if (lost_.load(std::memory_order_relaxed) != CUDA_SUCCESS) return;
  if (driver_.cuCtxPushCurrent_(context_) != CUDA_SUCCESS) return;
  const CUresult result = std::forward<Work>(work)();
  CUcontext popped = nullptr;
  driver_.cuCtxPopCurrent_(&popped);
  if (Driver::is_lost(result)) lost_.store(result, std::memory_order_relaxed);
}

}  // namespace quern::backends::cuda
