// What the driver layer refuses, and how it says so. These need the emulated driver.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "cuda/test_device.h"
#include "cuda/test_kernels.h"

namespace quern::backends::cuda {
namespace {

/// True where the driver is emulated; the tests of this file ask for what no device survives.
bool is_emulated() {
  if (Emulator::is_present()) return true;
  MESSAGE("left out: it needs the emulated driver");
  return false;
}

void check_error(const Error& error, ErrorCode code, std::vector<std::string> words) {
  const std::string text = error.describe();
  CAPTURE(text);
  CHECK(error.code == code);
  for (const std::string& word : words) {
    CHECK_MESSAGE(text.find(word) != std::string::npos, word);
  }
}

template <class T>
Status status_of(const Result<T>& result) {
  return result.ok() ? Status() : Status(result.error());
}

/// Nothing of the device is left: what is lost or refused is given back too.
void check_nothing_left() {
  for (const char* what :
       {"allocated_bytes", "allocations", "streams", "graphs", "modules", "contexts", "leaks"}) {
    CHECK_MESSAGE(Emulator::get(what) == 0, std::string(what));
  }
}

MisbehaveArgs misbehaviour(const DeviceBuffer& buffer, std::int32_t kind, std::int64_t offset) {
  return {pointer<float>(buffer), offset, kind};
}

}  // namespace

TEST_CASE("a machine without the driver says which library it lacks") {
  const Result<Driver> driver = Driver::load("libquern-has-no-such-driver.so.1");
  REQUIRE(!driver.ok());
  check_error(driver.error(), ErrorCode::kMissing,
              {"driver is not installed", "libquern-has-no-such-driver.so.1"});
}

TEST_CASE("a library that lacks a driver function is refused by the function's name") {
  const Result<Driver> driver = Driver::load("libm.so.6");
  REQUIRE(!driver.ok());
  check_error(driver.error(), ErrorCode::kUnsupported, {"lacks a function", "cuGetErrorName"});
}

TEST_CASE("a driver older than CUDA 12.0 is refused with both versions") {
  if (!is_emulated()) return;
  const Emulator emulator({{"driver_version", 11080}});
  const Result<Driver> driver = Driver::load("libcuda.so.1");
  REQUIRE(!driver.ok());
  check_error(driver.error(), ErrorCode::kUnsupported, {"too old", "CUDA 12.0", "CUDA 11.8"});
}

TEST_CASE("a driver without a device is an error of its own") {
  if (!is_emulated()) return;
  const Emulator emulator({{"n_devices", 0}});
  const Result<Driver> driver = Driver::load("libcuda.so.1");
  REQUIRE(!driver.ok());
  check_error(driver.error(), ErrorCode::kMissing, {"no CUDA device"});
}

TEST_CASE("a driver that does not start says what it does not fit") {
  if (!is_emulated()) return;
  struct Case {
    CUresult result;
    ErrorCode code;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {CUDA_ERROR_STUB_LIBRARY, ErrorCode::kMissing, {"stub", "CUDA_ERROR_STUB_LIBRARY"}},
      {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, ErrorCode::kUnsupported, {"does not fit", "MISMATCH"}},
      {CUDA_ERROR_SYSTEM_NOT_READY, ErrorCode::kIo, {"did not start", "802"}}};
  for (const Case& refused : cases) {
    const Emulator emulator({{"start_result", refused.result}});
    const Result<Driver> driver = Driver::load("libcuda.so.1");
    REQUIRE(!driver.ok());
    check_error(driver.error(), refused.code, refused.words);
  }
}

TEST_CASE("an ordinal that the machine does not have is refused") {
  if (!is_emulated()) return;
  for (const int ordinal : {-1, 1, 1000}) {
    const auto device = Device::open(ordinal);
    REQUIRE(!device.ok());
    check_error(device.error(), ErrorCode::kMissing,
                {"no such CUDA device", "0 to 0", std::to_string(ordinal)});
  }
}

TEST_CASE("a device of a compute capability below 8.0 is refused with its name") {
  if (!is_emulated()) return;
  const Emulator emulator({{"compute_capability", 75}});
  const auto device = Device::open(0);
  REQUIRE(!device.ok());
  check_error(device.error(), ErrorCode::kUnsupported,
              {"too old", "emulated device 0", "8.0", "7.5"});
  check_nothing_left();
}

TEST_CASE("kernels that the device cannot run are refused when they are loaded") {
  if (!is_emulated()) return;
  {
    const std::unique_ptr<TestDevice> test = TestDevice::open();
    const Emulator emulator({{"compute_capability", 75}});
    for (const Module& module : test_modules()) {
      const Status status = test->device->add_module(module);
      REQUIRE(!status.ok());
      check_error(status.error(), ErrorCode::kUnsupported,
                  {"cannot run the kernels", "module test_kernels", "NO_BINARY_FOR_GPU"});
    }
    const std::vector<std::uint64_t> no_image(8);
    const Status status = test->device->add_module({"rubbish", no_image.data()});
    REQUIRE(!status.ok());
    check_error(status.error(), ErrorCode::kUnsupported,
                {"cannot run the kernels", "module rubbish", "INVALID_IMAGE"});
  }
  check_nothing_left();
}

TEST_CASE("a kernel that no module has is refused by its name") {
  if (!is_emulated()) return;
  const std::unique_ptr<TestDevice> test = TestDevice::open();
  const auto kernel = test->device->kernel("quern_no_such_kernel");
  REQUIRE(!kernel.ok());
  check_error(kernel.error(), ErrorCode::kUnsupported,
              {"no such CUDA kernel", "quern_no_such_kernel", "test_kernels"});
}

TEST_CASE("a launch that the kernel does not allow names the kernel and does nothing") {
  if (!is_emulated()) return;
  const std::unique_ptr<TestDevice> test = TestDevice::open();
  const Kernel kernel = test->kernel("quern_test_reverse");
  const ReverseArgs args = {};
  struct Case {
    Dim3 grid, block;
    std::uint32_t shared_bytes;
    std::vector<std::string> words;
  };
  for (const Case& wrong :
       {Case{{1}, {257}, 0, {"1 to 256 threads", "257 x 1 x 1"}},
        Case{{1}, {16, 17}, 0, {"1 to 256 threads", "16 x 17 x 1"}},
        Case{{1}, {0}, 0, {"no thread"}}, Case{{0}, {32}, 0, {"no block", "0 x 1 x 1"}},
        Case{{1, 1, 0}, {32}, 0, {"no block"}},
        Case{{1, 65536, 1}, {32}, 0, {"too many blocks", "1 x 65536 x 1"}},
        Case{{1}, {32}, 101377, {"101376 bytes at most", "101377"}}}) {
    const Status status =
        test->stream.launch(kernel, wrong.grid, wrong.block, wrong.shared_bytes, args);
    REQUIRE(!status.ok());
    check_error(status.error(), ErrorCode::kInvalidArgument, wrong.words);
    check_error(status.error(), ErrorCode::kInvalidArgument, {"launch of quern_test_reverse"});
  }
  const Status other = test->stream.launch(kernel, {1}, {32}, 0, ProductArgs{});
  REQUIRE(!other.ok());
  check_error(other.error(), ErrorCode::kInvalidArgument, {"16 bytes", "32 bytes"});
}

TEST_CASE("memory that the device does not have is refused and the device goes on") {
  if (!is_emulated()) return;
  const Emulator emulator({{"memory_bytes", 1 << 20}});
  {
    const std::unique_ptr<TestDevice> test = TestDevice::open();
    CHECK(test->device->total_bytes() == 1 << 20);
    const DeviceBuffer held = test->allocate(1 << 19);
    const auto refused = test->device->allocate((1 << 19) + 1);
    REQUIRE(!refused.ok());
    check_error(refused.error(), ErrorCode::kOutOfMemory, {"memory ran out", "524289 bytes"});
    const auto free_bytes = test->device->free_bytes();
    REQUIRE(free_bytes.ok());
    CHECK(*free_bytes == 1 << 19);
    CHECK(test->device->allocate(1 << 19).ok());
  }
  check_nothing_left();
}

TEST_CASE("a copy beyond an allocation is refused") {
  if (!is_emulated()) return;
  const std::unique_ptr<TestDevice> test = TestDevice::open();
  const DeviceBuffer buffer = test->allocate(100);
  std::vector<std::byte> host(101);
  for (const Status& status : {test->stream.upload(buffer.address(), host.data(), 101),
                               test->stream.download(host.data(), buffer.address() + 1, 100),
                               test->stream.zero(buffer.address() + 100, 1)}) {
    REQUIRE(!status.ok());
    check_error(status.error(), ErrorCode::kInternal, {"refused", "CUDA_ERROR_INVALID_VALUE"});
  }
  CHECK(test->stream.synchronize().ok());
}

TEST_CASE("a device that was lost says so at every call, and a new one can be opened after it") {
  if (!is_emulated()) return;
  struct Case {
    std::int32_t kind;
    std::int64_t offset;
    const char* name;
  };
  for (const Case& wrong :
       {Case{0, 1 << 30, "CUDA_ERROR_ILLEGAL_ADDRESS"}, Case{0, 256, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        Case{1, 4, "CUDA_ERROR_MISALIGNED_ADDRESS"}, Case{2, 0, "CUDA_ERROR_LAUNCH_FAILED"},
        Case{3, 0, "CUDA_ERROR_LAUNCH_FAILED"}}) {
    CAPTURE(wrong.kind);
    CAPTURE(wrong.offset);
    {
      std::unique_ptr<TestDevice> test = TestDevice::open();
      DeviceBuffer buffer = test->allocate(256);
      auto pinned = test->device->allocate_pinned(256);
      REQUIRE(pinned.ok());
      const Kernel kernel = test->kernel("quern_test_misbehave");
      test->succeed(
          test->stream.launch(kernel, {1}, {2}, 0, misbehaviour(buffer, wrong.kind, wrong.offset)));
      const Status first = test->stream.synchronize();
      REQUIRE(!first.ok());
      check_error(first.error(), ErrorCode::kIo, {"the device was lost", wrong.name});
      const std::vector<std::byte> host(256);
      for (const Status& status :
           {test->stream.synchronize(), test->stream.zero(buffer.address(), 256),
            test->stream.upload(buffer.address(), host.data(), 256), test->stream.begin_capture(),
            test->stream.launch(kernel, {1}, {2}, 0, misbehaviour(buffer, 0, 0)),
            test->device->check_alive(), status_of(Device::open(0)),
            status_of(test->device->allocate(0)), status_of(test->device->free_bytes()),
            status_of(test->device->make_stream())}) {
        REQUIRE(!status.ok());
        check_error(status.error(), ErrorCode::kIo, {"the device was lost", wrong.name});
      }
    }
    check_nothing_left();
  }
  const std::unique_ptr<TestDevice> test = TestDevice::open();
  CHECK(test->stream.synchronize().ok());
}

TEST_CASE("a device that is lost between two launches is told at the next wait") {
  if (!is_emulated()) return;
  const Emulator emulator({{"lose_after_launches", 2}});
  {
    const std::unique_ptr<TestDevice> test = TestDevice::open();
    const Kernel kernel = test->kernel("quern_test_fill");
    const DeviceBuffer out = test->allocate(4 * 64);
    const FillArgs args = {pointer<float>(out), 64, 1.0F};
    for (int i = 0; i < 2; ++i) {
      test->succeed(test->stream.launch(kernel, {1}, {64}, 0, args));
      test->succeed(test->stream.synchronize());
    }
    test->succeed(test->stream.launch(kernel, {1}, {64}, 0, args));
    const Status status = test->stream.synchronize();
    REQUIRE(!status.ok());
    check_error(status.error(), ErrorCode::kIo, {"lost", "CUDA_ERROR_ECC_UNCORRECTABLE"});
  }
  check_nothing_left();
}

TEST_CASE("threads that use the same memory and have not met are found out") {
  if (!is_emulated()) return;
  const Emulator emulator({{"watches", 1}});
  struct Case {
    std::int32_t kind;
    std::uint32_t blocks;
    bool races;
  };
  for (const Case& one : {Case{4, 1, true}, Case{5, 1, true}, Case{6, 1, false}, Case{6, 2, false},
                          Case{7, 2, true}}) {
    CAPTURE(one.kind);
    const std::unique_ptr<TestDevice> test = TestDevice::open();
    const DeviceBuffer buffer = test->allocate(2 * 64 * sizeof(float));
    const Kernel kernel = test->kernel("quern_test_misbehave");
    test->succeed(
        test->stream.launch(kernel, {one.blocks}, {64}, 0, misbehaviour(buffer, one.kind, 0)));
    CHECK(test->stream.synchronize().ok() == !one.races);
  }
}

TEST_CASE("an address of host memory among a kernel's arguments is found out") {
  if (!is_emulated()) return;
  const std::unique_ptr<TestDevice> test = TestDevice::open();
  std::vector<float> host(64);
  const FillArgs args = {host.data(), 64, 1.0F};
  test->succeed(test->stream.launch(test->kernel("quern_test_fill"), {1}, {64}, 0, args));
  const Status status = test->stream.synchronize();
  REQUIRE(!status.ok());
  check_error(status.error(), ErrorCode::kIo, {"CUDA_ERROR_ILLEGAL_ADDRESS"});
}

TEST_CASE("waiting within a recording is an error and spoils it") {
  if (!is_emulated()) return;
  {
    const std::unique_ptr<TestDevice> test = TestDevice::open();
    CHECK(!test->stream.end_capture().ok());
    test->succeed(test->stream.begin_capture());
    CHECK(!test->stream.begin_capture().ok());
    const Status status = test->stream.synchronize();
    REQUIRE(!status.ok());
    check_error(status.error(), ErrorCode::kInternal, {"STREAM_CAPTURE_UNSUPPORTED"});
    const auto graph = test->stream.end_capture();
    REQUIRE(!graph.ok());
    check_error(graph.error(), ErrorCode::kInternal, {"STREAM_CAPTURE_INVALIDATED"});
    CHECK(test->stream.synchronize().ok());
    const Status run = test->stream.run(LaunchGraph());
    REQUIRE(!run.ok());
    check_error(run.error(), ErrorCode::kInvalidArgument, {"nothing was recorded"});
  }
  check_nothing_left();
}

}  // namespace quern::backends::cuda
