#include "backends/cuda/buffers.h"

#include "backends/cuda/device.h"

namespace quern::backends::cuda {

DeviceBuffer::~DeviceBuffer() {
  if (address_ == 0) return;
  device_->release([&] { return device_->driver_.cuMemFree_(address_); });
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ == nullptr) return;
  device_->release([&] { return device_->driver_.cuMemFreeHost_(data_); });
}

Result<DeviceBuffer> Device::allocate(std::uint64_t bytes) {
  DeviceBuffer buffer;
  QUERN_CHECK(check_alive());
  if (bytes == 0) return buffer;
  CUdeviceptr address = 0;
  Status status = call("allocating", [&] { return driver_.cuMemAlloc_(&address, bytes); });
  if (!status.ok()) {
    return std::move(status).error().want(std::to_string(bytes) + " bytes");
  }
  buffer.device_ = shared_from_this();
  buffer.address_ = address;
  buffer.bytes_ = bytes;
  return buffer;
}

Result<PinnedBuffer> Device::allocate_pinned(std::uint64_t bytes) {
  PinnedBuffer buffer;
  QUERN_CHECK(check_alive());
  if (bytes == 0) return buffer;
  void* data = nullptr;
  Status status = call("page-locking host memory", [&] {
    return driver_.cuMemHostAlloc_(&data, bytes, CU_MEMHOSTALLOC_PORTABLE);
  });
  if (!status.ok()) {
    Error error = std::move(status).error();
    if (error.code == ErrorCode::kOutOfMemory) error.message = "page-locked memory ran out";
    return std::move(error).want(std::to_string(bytes) + " bytes");
  }
  buffer.device_ = shared_from_this();
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.bytes_ = bytes;
  return buffer;
}

}  // namespace quern::backends::cuda
