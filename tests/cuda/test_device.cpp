#include "cuda/test_device.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdio>
#include <mutex>

namespace quern::backends::cuda {
namespace {

template <class Function>
Function* find_control(const char* name) {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW);
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(::dlsym(library, name));
}

void say_skipped(const Error& error) {
  static std::once_flag said;
  std::call_once(said, [&] { std::printf("SKIPPED: %s\n", error.describe().c_str()); });
}

}  // namespace

bool Emulator::is_present() { return find_control<void()>("quern_emulator_reset") != nullptr; }

void Emulator::set(const char* name, long long value) {
  REQUIRE(find_control<int(const char*, long long)>("quern_emulator_set")(name, value) == 0);
}

long long Emulator::get(const char* name) {
  return find_control<long long(const char*)>("quern_emulator_get")(name);
}

Emulator::Emulator(Settings settings) {
  for (const auto& [name, value] : settings) set(name, value);
}

Emulator::~Emulator() { find_control<void()>("quern_emulator_reset")(); }

std::unique_ptr<TestDevice> TestDevice::open() {
  Result<std::shared_ptr<Device>> device = Device::open(0);
  if (!device.ok() && device.error().code == ErrorCode::kMissing && !Emulator::is_present()) {
    say_skipped(device.error());
    return nullptr;
  }
  REQUIRE_MESSAGE(device.ok(), (device.ok() ? "" : device.error().describe()));
  auto opened = std::make_unique<TestDevice>();
  opened->device = std::move(device).value();
  for (const Module& module : test_modules()) succeed(opened->device->add_module(module));
  Result<Stream> stream = opened->device->make_stream();
  REQUIRE_MESSAGE(stream.ok(), (stream.ok() ? "" : stream.error().describe()));
  opened->stream = std::move(stream).value();
  return opened;
}

Kernel TestDevice::kernel(const char* name) {
  Result<Kernel> kernel = device->kernel(name);
  REQUIRE_MESSAGE(kernel.ok(), (kernel.ok() ? "" : kernel.error().describe()));
  return std::move(kernel).value();
}

DeviceBuffer TestDevice::allocate(std::uint64_t bytes) {
  Result<DeviceBuffer> buffer = device->allocate(bytes);
  REQUIRE_MESSAGE(buffer.ok(), (buffer.ok() ? "" : buffer.error().describe()));
  return std::move(buffer).value();
}

void TestDevice::succeed(const Status& status) {
  REQUIRE_MESSAGE(status.ok(), (status.ok() ? "" : status.error().describe()));
}

}  // namespace quern::backends::cuda
