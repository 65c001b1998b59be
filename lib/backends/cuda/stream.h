/// \file
/// Work in order on a device, and recordings of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "backends/cuda/device.h"
#include "quern/result.h"

namespace quern::backends::cuda {

struct Dim3 {
  std::uint32_t x = 1, y = 1, z = 1;
};

/// Work that was recorded, to be given to the device as one. Move-only; its buffers have to live
/// as long as it runs. Thread rule: one thread at a time.
class LaunchGraph {
 public:
  LaunchGraph() = default;
  LaunchGraph(LaunchGraph&& other) noexcept
      : device_(std::move(other.device_)), graph_(std::exchange(other.graph_, nullptr)) {}
  LaunchGraph& operator=(LaunchGraph&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~LaunchGraph();

  bool empty() const noexcept { return graph_ == nullptr; }

 private:
  friend class Stream;
  std::shared_ptr<Device> device_;
  CUgraphExec graph_ = nullptr;
};

/// A queue of work that the device does in order; the calls return before it is done. Addresses
/// are those of `DeviceBuffer`. A failure of work that runs later is told by a later call, at the
/// latest by `synchronize`. Move-only. Thread rule: one thread at a time.
class Stream {
 public:
  Stream() = default;
  Stream(Stream&& other) noexcept
      : device_(std::move(other.device_)),
        stream_(std::exchange(other.stream_, nullptr)),
        launches_(other.launches_) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(stream_, other.stream_);
    std::swap(launches_, other.launches_);
    return *this;
  }
  /// Lets given work finish.
  ~Stream();

  /// Host to device. A pinned source must stay unchanged until the work is done.
  Status upload(std::uint64_t destination, const void* source, std::uint64_t bytes);
  /// Device to host. The bytes are there after `synchronize`.
  Status download(void* destination, std::uint64_t source, std::uint64_t bytes);
  /// Device to device; the places do not overlap.
  Status copy(std::uint64_t destination, std::uint64_t source, std::uint64_t bytes);
  Status zero(std::uint64_t destination, std::uint64_t bytes);

  /// `args` is the struct that the kernel was declared with; it is copied before the call returns.
  /// kInvalidArgument where a dimension is 0, the grid has more blocks than a device counts, or the
  /// block more threads or shared memory than the kernel allows.
  template <class Args>
  Status launch(const Kernel& kernel, Dim3 grid, Dim3 block, std::uint32_t shared_bytes,
                const Args& args) {
    static_assert(std::is_trivially_copyable_v<Args> && std::is_class_v<Args>);
    Args whole = args;
#if defined(__has_builtin) && __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&whole);  // The emulated device looks for stray addresses.
#endif
    return launch_with(kernel, grid, block, shared_bytes, &whole, sizeof(Args));
  }
  /// The same by address, for tables of launches: `args` points to `args_bytes` bytes.
  Status launch_with(const Kernel& kernel, Dim3 grid, Dim3 block, std::uint32_t shared_bytes,
                     const void* args, std::size_t args_bytes);

  /// Kernels launched so far, recorded ones included.
  std::int64_t launches() const noexcept { return launches_; }

  /// Waits until everything given so far is done.
  Status synchronize();

  /// From here on calls are recorded instead of done, until `end_capture`; `synchronize` in between
  /// is an error and spoils the recording.
  Status begin_capture();
  Result<LaunchGraph> end_capture();
  Status run(const LaunchGraph& graph);

 private:
  friend class Device;
  std::shared_ptr<Device> device_;
  CUstream stream_ = nullptr;
  std::int64_t launches_ = 0;
};

}  // namespace quern::backends::cuda
