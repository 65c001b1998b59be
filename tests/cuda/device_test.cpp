// The device, its memory and its streams.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "cuda/test_device.h"
#include "cuda/test_kernels.h"

namespace quern::backends::cuda {
namespace {

std::vector<std::int32_t> counting(std::size_t n) {
  std::vector<std::int32_t> values(n);
  std::iota(values.begin(), values.end(), 1);
  return values;
}

}  // namespace

TEST_CASE("a device tells what it is, and is one object as long as someone holds it") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  Device& device = *test->device;
  MESSAGE(device.name() << ", compute capability " << device.compute_capability() << ", "
                        << device.multiprocessors() << " multiprocessors, "
                        << (device.total_bytes() >> 20) << " MiB");
  CHECK(!device.name().empty());
  CHECK(device.compute_capability() >= 80);
  CHECK(device.multiprocessors() > 0);
  CHECK(device.max_shared_bytes() >= 48 * 1024);
  const auto free_bytes = device.free_bytes();
  REQUIRE(free_bytes.ok());
  CHECK(*free_bytes > 0);
  CHECK(*free_bytes <= device.total_bytes());
  const auto again = Device::open(0);
  REQUIRE(again.ok());
  CHECK(again->get() == test->device.get());
  CHECK(device.check_alive().ok());
}

TEST_CASE("bytes come back from the device as they went, by all ways") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  for (const std::size_t n : {1U, 255U, 256U, 257U, 100003U}) {
    std::vector<std::uint8_t> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<std::uint8_t>(i * 7 + n);
    const DeviceBuffer first = test->upload(values);
    const DeviceBuffer second = test->allocate(n);
    CHECK(first.size() == n);
    CHECK(first.address() % 256 == 0);
    test->succeed(test->stream.copy(second.address(), first.address(), n));
    CHECK(test->download<std::uint8_t>(second) == values);
    test->succeed(test->stream.zero(second.address(), n));
    std::vector<std::uint8_t> expected(n, 0);
    test->succeed(test->stream.upload(second.address(), values.data(), n / 2));
    std::copy_n(values.begin(), n / 2, expected.begin());
    CHECK(test->download<std::uint8_t>(second) == expected);
  }
}

TEST_CASE("an empty buffer costs nothing and empty copies are fine") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  const DeviceBuffer empty = test->allocate(0);
  CHECK(empty.address() == 0);
  CHECK(empty.size() == 0);
  test->succeed(test->stream.upload(0, nullptr, 0));
  test->succeed(test->stream.download(nullptr, 0, 0));
  test->succeed(test->stream.copy(0, 0, 0));
  test->succeed(test->stream.zero(0, 0));
  const auto pinned = test->device->allocate_pinned(0);
  REQUIRE(pinned.ok());
  CHECK(pinned->data() == nullptr);
}

TEST_CASE("pinned memory carries numbers both ways") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  constexpr std::size_t kBytes = 4096;
  auto pinned = test->device->allocate_pinned(kBytes);
  REQUIRE(pinned.ok());
  PinnedBuffer buffer = std::move(pinned).value();
  REQUIRE(buffer.size() == kBytes);
  std::memset(buffer.data(), 5, kBytes);
  const DeviceBuffer device = test->allocate(kBytes);
  test->succeed(test->stream.upload(device.address(), buffer.data(), kBytes));
  test->succeed(test->stream.synchronize());
  std::memset(buffer.data(), 0, kBytes);
  test->succeed(test->stream.download(buffer.data(), device.address(), kBytes));
  test->succeed(test->stream.synchronize());
  CHECK(std::all_of(buffer.data(), buffer.data() + kBytes,
                    [](std::byte b) { return b == std::byte{5}; }));
}

TEST_CASE("owners hand their memory on and free it once") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  DeviceBuffer first = test->allocate(64);
  const std::uint64_t address = first.address();
  DeviceBuffer second = std::move(first);
  CHECK(first.address() == 0);
  CHECK(second.address() == address);
  first = std::move(second);
  CHECK(first.address() == address);
  first = DeviceBuffer();
  CHECK(first.size() == 0);
  auto made = test->device->make_stream();
  REQUIRE(made.ok());
  Stream moved = std::move(made).value();
  moved = Stream();
  CHECK(test->stream.synchronize().ok());
}

TEST_CASE("work in a stream is done in the order that it was given in") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  constexpr std::uint32_t kCount = 1000;
  const DeviceBuffer out = test->allocate(4 * kCount);
  const Kernel fill = test->kernel("quern_test_fill");
  CHECK(fill.name() == "quern_test_fill");
  for (int i = 0; i < 10; ++i) {
    const FillArgs args = {pointer<float>(out), kCount, static_cast<float>(i)};
    test->succeed(test->stream.launch(fill, {(kCount + 127) / 128}, {128}, 0, args));
  }
  const std::vector<float> values = test->download<float>(out);
  bool is_right = true;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    is_right = is_right && values[i] == 9.0F + 0.25F * static_cast<float>(i % 4);
  }
  CHECK(is_right);
}

TEST_CASE("a recording does the same again with what its memory holds then") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  constexpr std::uint32_t kCount = 256;
  const DeviceBuffer in = test->allocate(4 * kCount);
  const DeviceBuffer middle = test->allocate(4 * kCount);
  const DeviceBuffer out = test->allocate(4 * kCount);
  const Kernel reverse = test->kernel("quern_test_reverse");
  test->succeed(test->stream.zero(out.address(), out.size()));
  test->succeed(test->stream.synchronize());
  test->succeed(test->stream.begin_capture());
  test->succeed(
      test->stream.launch(reverse, {1}, {kCount}, 0,
                          ReverseArgs{pointer<std::int32_t>(in), pointer<std::int32_t>(middle)}));
  test->succeed(test->stream.copy(out.address(), middle.address(), out.size()));
  auto recorded = test->stream.end_capture();
  REQUIRE(recorded.ok());
  const LaunchGraph graph = std::move(recorded).value();
  CHECK(!graph.empty());
  CHECK(test->download<std::int32_t>(out) == std::vector<std::int32_t>(kCount, 0));
  for (int turn = 0; turn < 3; ++turn) {
    std::vector<std::int32_t> values = counting(kCount);
    for (std::int32_t& value : values) value *= turn + 1;
    test->succeed(test->stream.upload(in.address(), values.data(), in.size()));
    test->succeed(test->stream.run(graph));
    std::reverse(values.begin(), values.end());
    CHECK(test->download<std::int32_t>(out) == values);
  }
}

TEST_CASE("threads share a device, each with a stream of its own") {
  const auto test = TestDevice::open();
  if (test == nullptr) return;
  const Kernel fill = test->kernel("quern_test_fill");
  std::vector<std::string> errors(4);
  const auto work = [&](std::size_t me) -> Status {
    QUERN_TRY(stream, test->device->make_stream());
    constexpr std::uint32_t kCount = 4096;
    for (int turn = 0; turn < 20; ++turn) {
      QUERN_TRY(buffer, test->device->allocate(4 * kCount));
      const auto value = static_cast<float>(100 * me + static_cast<std::size_t>(turn));
      QUERN_CHECK(stream.launch(fill, {kCount / 256}, {256}, 0,
                                FillArgs{pointer<float>(buffer), kCount, value}));
      std::vector<float> host(kCount);
      QUERN_CHECK(stream.download(host.data(), buffer.address(), buffer.size()));
      QUERN_CHECK(stream.synchronize());
      if (host[0] != value || host[kCount - 1] != value + 0.75F) {
        return Error(ErrorCode::kMismatch, "another thread's numbers");
      }
    }
    return {};
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    threads.emplace_back([&, i] {
      const Status status = work(i);
      if (!status.ok()) errors[i] = status.error().describe();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors) CHECK_MESSAGE(error.empty(), error);
}

}  // namespace quern::backends::cuda
