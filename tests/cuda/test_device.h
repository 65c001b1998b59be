/// \file
/// The device that the tests run on, and what they may ask of it where it is emulated.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backends/cuda/buffers.h"
#include "backends/cuda/device.h"
#include "backends/cuda/stream.h"

namespace quern::backends::cuda {

/// The kernels of test_kernels.cu; made by the build.
std::span<const Module> test_modules() noexcept;

/// The emulated driver's controls, as long as a test needs them other than by default.
class Emulator {
 public:
  using Settings = std::initializer_list<std::pair<const char*, long long>>;
  explicit Emulator(Settings settings);
  Emulator(const Emulator&) = delete;
  Emulator& operator=(const Emulator&) = delete;
  ~Emulator();

  static bool is_present();
  static void set(const char* name, long long value);
  static long long get(const char* name);
};

/// A device with the test kernels and a stream. Null where the machine has none, which it says
/// once.
struct TestDevice {
  static std::unique_ptr<TestDevice> open();

  Kernel kernel(const char* name);
  template <class T>
  DeviceBuffer upload(const std::vector<T>& values) {
    DeviceBuffer buffer = allocate(values.size() * sizeof(T));
    succeed(stream.upload(buffer.address(), values.data(), buffer.size()));
    return buffer;
  }
  template <class T>
  std::vector<T> download(const DeviceBuffer& buffer) {
    std::vector<T> values(buffer.size() / sizeof(T));
    succeed(stream.download(values.data(), buffer.address(), buffer.size()));
    succeed(stream.synchronize());
    return values;
  }
  DeviceBuffer allocate(std::uint64_t bytes);
  static void succeed(const Status& status);

  std::shared_ptr<Device> device;
  Stream stream;
};

/// A buffer's address as the kernels' arguments have it.
template <class T>
T* pointer(const DeviceBuffer& buffer) {
  return reinterpret_cast<T*>(buffer.address());
}

}  // namespace quern::backends::cuda
