// Prints a device's ceilings as one JSON document, for the script `device`. Usage: bench_device
// [MiB to read].
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "backends/cuda/buffers.h"
#include "backends/cuda/stream.h"
#include "bench/device_kernels.h"

namespace quern::backends::cuda {

/// The kernels of device_kernels.cu; made by the build.
std::span<const Module> bench_modules() noexcept;

}  // namespace quern::backends::cuda

namespace quern::bench {
namespace {

using backends::cuda::Device;
using backends::cuda::Stream;

constexpr int kRepeats = 5, kRounds = 4096, kWarps = 8, kSums = 8, kLaunches = 1000;
constexpr double kProductsOfOne = 16.0 * 8.0 * 32.0;  ///< Multiply-adds of one mma_s8.

/// The shortest of some runs, in seconds; the first, which warms up, does not count.
template <class Work>
Result<double> shortest(Stream& stream, Work work) {
  double best = 1e300;
  for (int i = 0; i <= kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    QUERN_CHECK(work());
    QUERN_CHECK(stream.synchronize());
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    if (i > 0) best = std::min(best, spent.count());
  }
  return best;
}

/// Seconds of a launch in a recording, each of which waits for the one before.
Result<double> launch_seconds(Device& device, Stream& stream, std::int32_t* out) {
  QUERN_TRY(nothing, device.kernel("bench_nothing"));
  QUERN_CHECK(stream.begin_capture());
  Status issued;
  for (int i = 0; i < kLaunches && issued.ok(); ++i)
    issued = stream.launch(nothing, {1, 1, 1}, {32, 1, 1}, 0, NothingArgs{out});
  QUERN_TRY(recording, stream.end_capture());
  QUERN_CHECK(std::move(issued));
  QUERN_TRY(seconds, shortest(stream, [&] { return stream.run(recording); }));
  return seconds / kLaunches;
}

Status measure(std::uint64_t read_bytes) {
  QUERN_TRY(device, Device::open(0));
  for (const auto& module : backends::cuda::bench_modules())
    QUERN_CHECK(device->add_module(module));
  QUERN_TRY(stream, device->make_stream());
  const auto blocks = static_cast<std::uint32_t>(device->multiprocessors()) * 8;
  QUERN_TRY(out, device->allocate(blocks * sizeof(std::int32_t)));
  QUERN_TRY(memory, device->allocate(read_bytes));
  QUERN_CHECK(stream.zero(memory.address(), read_bytes));
  auto* words = reinterpret_cast<std::int32_t*>(out.address());

  QUERN_TRY(peak, device->kernel("bench_int8_peak"));
  QUERN_TRY(product_seconds, shortest(stream, [&] {
              return stream.launch(peak, {blocks, 1, 1}, {32 * kWarps, 1, 1}, 0,
                                   PeakArgs{words, kRounds});
            }));
  QUERN_TRY(read, device->kernel("bench_read"));
  const ReadArgs args{reinterpret_cast<const std::uint32_t*>(memory.address()), words,
                      static_cast<std::int64_t>(read_bytes / 4)};
  QUERN_TRY(read_seconds, shortest(stream, [&] {
              return stream.launch(read, {blocks, 1, 1}, {256, 1, 1}, 0, args);
            }));
  QUERN_TRY(one_launch, launch_seconds(*device, stream, words));
  const double products = kProductsOfOne * kSums * kRounds * kWarps * blocks;
  std::printf(
      "{\"device\": \"%s\", \"compute_capability\": %d, \"int8_gmacs\": %.0f, "
      "\"read_gb_per_s\": %.1f, \"launch_us\": %.3f}\n",
      device->name().c_str(), device->compute_capability(), products / product_seconds * 1e-9,
      static_cast<double>(read_bytes) / read_seconds * 1e-9, one_launch * 1e6);
  return {};
}

}  // namespace
}  // namespace quern::bench

int main(int argc, char** argv) {
  const long long mib = argc > 1 ? std::atoll(argv[1]) : 4096;
  const quern::Status status =
      quern::bench::measure(static_cast<std::uint64_t>(std::max(mib, 1LL)) << 20);
  if (status.ok()) return 0;
  std::fprintf(stderr, "bench_device: %s\n", status.error().describe().c_str());
  return 1;
}
