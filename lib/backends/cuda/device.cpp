#include "backends/cuda/device.h"

#include <algorithm>
#include <array>
#include <map>

namespace quern::backends::cuda {
namespace {

constexpr int kOldestCapability = 80;

std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

/// The devices that someone holds, by ordinal.
struct Registry {
  std::mutex mutex;
  std::map<int, std::weak_ptr<Device>> devices;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

}  // namespace

Result<std::shared_ptr<Device>> Device::open(int ordinal) {
  QUERN_TRY(driver, Driver::instance());
  if (ordinal < 0 || ordinal >= driver->n_devices()) {
    return Error(ErrorCode::kMissing, "the machine has no such CUDA device")
        .of("device")
        .want("0 to " + std::to_string(driver->n_devices() - 1))
        .got(std::to_string(ordinal));
  }
  Registry& known = registry();
  const std::lock_guard lock(known.mutex);
  if (std::shared_ptr<Device> device = known.devices[ordinal].lock()) {
    QUERN_CHECK(device->check_alive());
    return device;
  }
  const std::shared_ptr<Device> device(new Device(*driver, ordinal));
  QUERN_CHECK(device->start());
  known.devices[ordinal] = device;
  return device;
}

Device::~Device() {
  if (context_ == nullptr) return;
  for (CUmodule module : modules_) {
    release([&] { return driver_.cuModuleUnload_(module); });
  }
  driver_.cuDevicePrimaryCtxRelease_(handle_);
}

Status Device::check_alive() const {
  const CUresult lost = lost_.load(std::memory_order_relaxed);
  return lost == CUDA_SUCCESS ? Status() : driver_.status_of(lost, "it worked on something before");
}

Status Device::check(CUresult result, const char* what) {
  if (Driver::is_lost(result)) lost_.store(result, std::memory_order_relaxed);
  return driver_.status_of(result, what);
}

Status Device::start() {
  QUERN_CHECK(check(driver_.cuDeviceGet_(&handle_, ordinal_), "choosing a device"));
  QUERN_CHECK(read_properties());
  if (compute_capability_ < kOldestCapability) {
    return Error(ErrorCode::kUnsupported, "the CUDA device is too old")
        .of("compute capability of " + name_)
        .want(capability_text(kOldestCapability) + " or higher")
        .got(capability_text(compute_capability_));
  }
  CUcontext context = nullptr;
  QUERN_CHECK(check(driver_.cuDevicePrimaryCtxRetain_(&context, handle_), "starting the device"));
  context_ = context;
  for (const Module& module : embedded_modules()) QUERN_CHECK(add_module(module));
  return {};
}

Result<int> Device::attribute(CUdevice_attribute which) {
  int value = 0;
  QUERN_CHECK(
      check(driver_.cuDeviceGetAttribute_(&value, which, handle_), "reading its properties"));
  return value;
}

Status Device::read_properties() {
  std::array<char, 256> name = {};
  QUERN_CHECK(
      check(driver_.cuDeviceGetName_(name.data(), static_cast<int>(name.size()) - 1, handle_),
            "reading its name"));
  name_ = name.data();
  size_t bytes = 0;
  QUERN_CHECK(check(driver_.cuDeviceTotalMem_(&bytes, handle_), "reading its memory's size"));
  total_bytes_ = bytes;
  QUERN_TRY(major, attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  QUERN_TRY(minor, attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  QUERN_TRY(processors, attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  QUERN_TRY(shared, attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  compute_capability_ = 10 * major + minor;
  multiprocessors_ = processors;
  max_shared_bytes_ = static_cast<std::uint64_t>(shared);
  return {};
}

Result<std::uint64_t> Device::free_bytes() {
  size_t free = 0;
  size_t total = 0;
  QUERN_CHECK(call("asking for free memory", [&] { return driver_.cuMemGetInfo_(&free, &total); }));
  return static_cast<std::uint64_t>(free);
}

Status Device::add_module(const Module& module) {
  CUmodule loaded = nullptr;
  Status status =
      call("loading kernels", [&] { return driver_.cuModuleLoadData_(&loaded, module.image); });
  if (!status.ok()) {
    return std::move(status).error().of(std::string("module ") + module.name + " on " + name_ +
                                        " (compute capability " +
                                        capability_text(compute_capability_) + ")");
  }
  const std::lock_guard lock(modules_mutex_);
  modules_.push_back(loaded);
  module_names_ += (module_names_.empty() ? "" : ", ") + std::string(module.name);
  return {};
}

Result<CUfunction> Device::find_function(const std::string& name) {
  const std::lock_guard lock(modules_mutex_);
  for (CUmodule module : modules_) {
    CUfunction function = nullptr;
    CUresult result = CUDA_SUCCESS;
    QUERN_CHECK(call("looking for a kernel", [&] {
      result = driver_.cuModuleGetFunction_(&function, module, name.c_str());
      return result == CUDA_ERROR_NOT_FOUND ? CUDA_SUCCESS : result;
    }));
    if (result == CUDA_SUCCESS) return function;
  }
  return Error(ErrorCode::kUnsupported, "this build has no such CUDA kernel")
      .of(name)
      .want("a kernel of one of the modules: " + module_names_)
      .got("none");
}

Result<std::uint32_t> Device::limit(CUfunction function, CUfunction_attribute which) {
  int value = 0;
  QUERN_CHECK(call("reading a kernel's limits",
                   [&] { return driver_.cuFuncGetAttribute_(&value, which, function); }));
  return static_cast<std::uint32_t>(std::max(value, 0));
}

Result<Kernel> Device::describe(CUfunction function, const std::string& name) {
  Kernel kernel;
  kernel.function_ = function;
  kernel.name_ = std::make_shared<const std::string>(name);
  QUERN_TRY(max_threads, limit(function, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK));
  QUERN_TRY(static_bytes, limit(function, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES));
  kernel.max_threads_ = max_threads;
  kernel.max_shared_bytes_ = static_cast<std::uint32_t>(
      max_shared_bytes_ - std::min<std::uint64_t>(max_shared_bytes_, static_bytes));
  // Beyond 48 KiB a kernel has to ask; asking costs nothing where it does not use them.
  QUERN_CHECK(call("raising a kernel's shared memory", [&] {
    return driver_.cuFuncSetAttribute_(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                       static_cast<int>(kernel.max_shared_bytes_));
  }));
  if (driver_.cuFuncGetParamInfo_ != nullptr) {
    size_t offset = 0;
    QUERN_CHECK(call("reading a kernel's parameter", [&] {
      return driver_.cuFuncGetParamInfo_(function, 0, &offset, &kernel.args_bytes_);
    }));
  }
  return kernel;
}

Result<Kernel> Device::kernel(const std::string& name) {
  QUERN_TRY(function, find_function(name));
  return describe(function, name);
}

}  // namespace quern::backends::cuda
