/// \file
/// Memory of a device, and host memory that it reaches by itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace quern::backends::cuda {

class Device;

/// Owns device memory and keeps its device open. Move-only. Freeing waits for the work that was
/// given to the device before. Thread rule: as plain memory.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : device_(std::move(other.device_)),
        address_(std::exchange(other.address_, 0)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBuffer();

  /// A CUdeviceptr; 0 for an empty buffer.
  std::uint64_t address() const noexcept { return address_; }
  std::uint64_t size() const noexcept { return bytes_; }

 private:
  friend class Device;
  std::shared_ptr<Device> device_;
  std::uint64_t address_ = 0;
  std::uint64_t bytes_ = 0;
};

/// Owns page-locked host memory and keeps its device open. Move-only. It has to live until the
/// copies from and to it are done. Thread rule: as plain memory.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : device_(std::move(other.device_)),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedBuffer();

  std::byte* data() const noexcept { return data_; }
  std::uint64_t size() const noexcept { return bytes_; }

 private:
  friend class Device;
  std::shared_ptr<Device> device_;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace quern::backends::cuda
