#include "backends/cuda/stream.h"

#include <string>

namespace quern::backends::cuda {
namespace {

/// Of a grid, along x and along y and z ("Compute Capabilities" in CUDA's programming guide).
constexpr std::uint32_t kMostBlocks = 2147483647, kMostBlocksAcross = 65535;

std::string text_of(Dim3 size) {
  return std::to_string(size.x) + " x " + std::to_string(size.y) + " x " + std::to_string(size.z);
}

Error refused(const Kernel& kernel, const char* message) {
  return Error(ErrorCode::kInvalidArgument, message).of("launch of " + kernel.name());
}

}  // namespace

LaunchGraph::~LaunchGraph() {
  if (graph_ == nullptr) return;
  device_->release([&] { return device_->driver_.cuGraphExecDestroy_(graph_); });
}

Stream::~Stream() {
  if (stream_ == nullptr) return;
  const Driver& driver = device_->driver_;
  // Work that still runs may use memory that is freed after this stream.
  device_->release([&] { return driver.cuStreamSynchronize_(stream_); });
  device_->release([&] { return driver.cuStreamDestroy_(stream_); });
}

Result<Stream> Device::make_stream() {
  Stream stream;
  QUERN_CHECK(call("making a stream", [&] {
    return driver_.cuStreamCreate_(&stream.stream_, CU_STREAM_NON_BLOCKING);
  }));
  stream.device_ = shared_from_this();
  return stream;
}

Status Stream::upload(std::uint64_t destination, const void* source, std::uint64_t bytes) {
  if (bytes == 0) return device_->check_alive();
  return device_->call("copying to the device", [&] {
    return device_->driver_.cuMemcpyHtoDAsync_(destination, source, bytes, stream_);
  });
}

Status Stream::download(void* destination, std::uint64_t source, std::uint64_t bytes) {
  if (bytes == 0) return device_->check_alive();
  return device_->call("copying from the device", [&] {
    return device_->driver_.cuMemcpyDtoHAsync_(destination, source, bytes, stream_);
  });
}

Status Stream::copy(std::uint64_t destination, std::uint64_t source, std::uint64_t bytes) {
  if (bytes == 0) return device_->check_alive();
  return device_->call("copying on the device", [&] {
    return device_->driver_.cuMemcpyDtoDAsync_(destination, source, bytes, stream_);
  });
}

Status Stream::zero(std::uint64_t destination, std::uint64_t bytes) {
  if (bytes == 0) return device_->check_alive();
  return device_->call("clearing memory", [&] {
    return device_->driver_.cuMemsetD8Async_(destination, 0, bytes, stream_);
  });
}

Status Stream::launch_with(const Kernel& kernel, Dim3 grid, Dim3 block, std::uint32_t shared_bytes,
                           const void* args, std::size_t args_bytes) {
  const std::uint64_t n_threads = std::uint64_t{block.x} * block.y * block.z;
  if (n_threads == 0 || n_threads > kernel.max_threads()) {
    return refused(kernel, "the block has no thread or too many")
        .want("1 to " + std::to_string(kernel.max_threads()) + " threads")
        .got(text_of(block));
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) {
    return refused(kernel, "the grid has no block").want("1 or more each way").got(text_of(grid));
  }
  if (grid.x > kMostBlocks || grid.y > kMostBlocksAcross || grid.z > kMostBlocksAcross) {
    return refused(kernel, "the grid has too many blocks")
        .want("2147483647 x 65535 x 65535 at most")
        .got(text_of(grid));
  }
  if (shared_bytes > kernel.max_shared_bytes()) {
    return refused(kernel, "the block asks for too much shared memory")
        .want(std::to_string(kernel.max_shared_bytes()) + " bytes at most")
        .got(std::to_string(shared_bytes) + " bytes");
  }
  if (kernel.args_bytes_ != 0 && kernel.args_bytes_ != args_bytes) {
    return refused(kernel, "the arguments are not the ones that the kernel declares")
        .want(std::to_string(kernel.args_bytes_) + " bytes")
        .got(std::to_string(args_bytes) + " bytes");
  }
  Status status = device_->call("starting a kernel", [&] {
    void* parameters[] = {const_cast<void*>(args)};  // The driver only reads them.
    return device_->driver_.cuLaunchKernel_(kernel.function_, grid.x, grid.y, grid.z, block.x,
                                            block.y, block.z, shared_bytes, stream_, parameters,
                                            nullptr);
  });
  if (!status.ok()) return std::move(status).error().of("launch of " + kernel.name());
  ++launches_;
  return {};
}

Status Stream::synchronize() {
  return device_->call("waiting for its work",
                       [&] { return device_->driver_.cuStreamSynchronize_(stream_); });
}

Status Stream::begin_capture() {
  // Relaxed: other threads, and this one, may allocate meanwhile.
  return device_->call("beginning a recording", [&] {
    return device_->driver_.cuStreamBeginCapture_(stream_, CU_STREAM_CAPTURE_MODE_RELAXED);
  });
}

Result<LaunchGraph> Stream::end_capture() {
  const Driver& driver = device_->driver_;
  CUgraph recorded = nullptr;
  QUERN_CHECK(device_->call("ending a recording",
                            [&] { return driver.cuStreamEndCapture_(stream_, &recorded); }));
  LaunchGraph graph;
  Status made = device_->call("preparing a recording", [&] {
    return driver.cuGraphInstantiateWithFlags_(&graph.graph_, recorded, 0);
  });
  device_->release([&] { return driver.cuGraphDestroy_(recorded); });
  if (!made.ok()) return std::move(made).error();
  graph.device_ = device_;
  return graph;
}

Status Stream::run(const LaunchGraph& graph) {
  if (graph.empty()) {
    return Error(ErrorCode::kInvalidArgument, "nothing was recorded").of("launch graph");
  }
  return device_->call("starting a recording",
                       [&] { return device_->driver_.cuGraphLaunch_(graph.graph_, stream_); });
}

}  // namespace quern::backends::cuda
