// The driver's functions for modules, kernels, streams and recordings.
#include <cuda.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/cuda/emulator/grid.h"
#include "tests/cuda/emulator/machine.h"

namespace quern::cuda_emulator {
namespace {

/// "folder/name.cu" → "name".
std::string_view stem_of(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return path.substr(0, path.find('.'));
}

/// The fatbin's own header, and that of each of the images in it, as far as they are needed here.
struct FatbinHeader {
  std::uint32_t magic;
  std::uint16_t version, header_bytes;
  std::uint64_t bytes;
};
struct ImageHeader {
  std::uint16_t kind, version;
  std::uint32_t header_bytes;
  std::uint64_t bytes;
  std::uint32_t unknown[3];
  std::uint32_t architecture;
};
constexpr std::uint32_t kFatbinMagic = 0xba55ed50;
constexpr std::uint16_t kPtx = 1;

bool suits(const ImageHeader& image, long long capability) {
  const long long built_for = image.architecture;
  if (image.kind == kPtx) return built_for <= capability;
  return built_for / 10 == capability / 10 && built_for <= capability;
}

/// What follows a fatbin of quern's build: this word and the name of its .cu file.
constexpr std::string_view kTag = "quern-module:";

CUresult read_image(const void* image, std::string& name) {
  const auto* start = static_cast<const std::byte*>(image);
  FatbinHeader header;
  std::memcpy(&header, start, sizeof(header));
  if (header.magic != kFatbinMagic) return CUDA_ERROR_INVALID_IMAGE;
  const std::byte* at = start + header.header_bytes;
  const std::byte* const end = at + header.bytes;
  bool is_suitable = false;
  while (at < end) {
    ImageHeader entry;
    std::memcpy(&entry, at, sizeof(entry));
    is_suitable = is_suitable || suits(entry, machine().control("compute_capability"));
    at += entry.header_bytes + entry.bytes;
  }
  if (!is_suitable) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  const char* tag = reinterpret_cast<const char*>(end);
  if (std::strncmp(tag, kTag.data(), kTag.size()) != 0) return CUDA_ERROR_INVALID_IMAGE;
  name = tag + kTag.size();
  return CUDA_SUCCESS;
}

/// True for an address of this process that the device does not reach.
bool is_host_address(std::uint64_t word) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (word < 1ULL << 32 || word >= 1ULL << 47) return false;
  if (find_device_memory(word, 0) != nullptr) return false;
  if (find_pinned_memory(reinterpret_cast<const void*>(word), 0) != nullptr) return false;
  unsigned char is_resident = 0;
  return ::mincore(reinterpret_cast<void*>(word / page * page), 1, &is_resident) == 0;
}

CUresult result_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDone:
      return CUDA_SUCCESS;
    case Outcome::kIllegalAddress:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case Outcome::kMisalignedAddress:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case Outcome::kLaunchFailed:
      return CUDA_ERROR_LAUNCH_FAILED;
  }
  return CUDA_ERROR_UNKNOWN;
}

/// A launch as it was asked for; `args` in words, so that they are aligned.
struct Launch {
  Grid grid;
  std::vector<uint4> args;

  CUresult run() const {
    long long& n_left = *machine().controls.find("lose_after_launches");
    if (n_left >= 0 && n_left-- == 0) return CUDA_ERROR_ECC_UNCORRECTABLE;
    ++machine().counts.launches;
    const auto* words = reinterpret_cast<const unsigned char*>(args.data());
    for (std::size_t i = 0; i + 8 <= grid.kernel->args_bytes; i += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, words + i, 8);
      if (is_host_address(word)) {
        std::fprintf(stderr,
                     "emulated device: kernel %s: byte %zu of its arguments holds an "
                     "address of host memory\n",
                     grid.kernel->name, i);
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      }
    }
    Grid now = grid;
    now.args = args.data();
    now.is_reversed = machine().control("is_reversed") != 0;
    now.watches = machine().control("watches") != 0;
    const Outcome outcome = run_grid(now);
    if (outcome == Outcome::kIllegalAddress || outcome == Outcome::kMisalignedAddress) {
      std::fprintf(stderr,
                   "emulated device: kernel %s touched memory that it does not own, or at "
                   "an odd address\n",
                   grid.kernel->name);
    }
    return result_of(outcome);
  }
};

const KernelEntry* kernel_of(CUfunction function) {
  for (const KernelEntry* entry = first_kernel(); entry != nullptr; entry = entry->next) {
    if (reinterpret_cast<CUfunction>(const_cast<KernelEntry*>(entry)) == function) return entry;
  }
  return nullptr;
}

Stream* stream_of(CUstream handle) {
  const auto found = machine().streams.find(handle);
  return found == machine().streams.end() ? nullptr : found->second.get();
}

template <class Handle, class Thing>
Handle keep(std::map<Handle, std::unique_ptr<Thing>>& things, std::unique_ptr<Thing> thing) {
  const auto handle = reinterpret_cast<Handle>(thing.get());
  things[handle] = std::move(thing);
  return handle;
}

}  // namespace
}  // namespace quern::cuda_emulator

using namespace quern::cuda_emulator;

/// Takes the machine, and returns where the current context takes no work.
#define QUERN_EMULATED_ENTER()                 \
  const std::lock_guard lock(machine().mutex); \
  if (const CUresult refusal = check_context(); refusal != CUDA_SUCCESS) return refusal

extern "C" {

CUresult CUDAAPI cuModuleLoadData(CUmodule* handle, const void* image) {
  QUERN_EMULATED_ENTER();
  auto module = std::make_unique<Module>();
  module->device = current_device();
  const CUresult result = read_image(image, module->name);
  if (result == CUDA_SUCCESS) *handle = keep(machine().modules, std::move(module));
  return result;
}

CUresult CUDAAPI cuModuleUnload(CUmodule handle) {
  QUERN_EMULATED_ENTER();
  return machine().modules.erase(handle) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule handle, const char* name) {
  QUERN_EMULATED_ENTER();
  const auto module = machine().modules.find(handle);
  if (module == machine().modules.end()) return CUDA_ERROR_INVALID_HANDLE;
  for (const KernelEntry* entry = first_kernel(); entry != nullptr; entry = entry->next) {
    if (stem_of(entry->file) == module->second->name && std::strcmp(entry->name, name) == 0) {
      *function = reinterpret_cast<CUfunction>(const_cast<KernelEntry*>(entry));
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_NOT_FOUND;
}

CUresult CUDAAPI cuFuncGetAttribute(int* value, CUfunction_attribute which, CUfunction function) {
  QUERN_EMULATED_ENTER();
  const KernelEntry* kernel = kernel_of(function);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (which == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) {
    *value = static_cast<int>(kernel->max_threads);
  } else if (which == CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) {
    *value = 0;  // A compiler of plain C++ does not tell.
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
  QUERN_EMULATED_ENTER();
  if (kernel_of(function) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const bool is_valid = which == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES && value >= 0 &&
                        value <= machine().control("shared_bytes");
  return is_valid ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset,
                                    size_t* bytes) {
  QUERN_EMULATED_ENTER();
  const KernelEntry* kernel = kernel_of(function);
  if (kernel == nullptr || index != 0) return CUDA_ERROR_INVALID_VALUE;
  *offset = 0;
  *bytes = kernel->args_bytes;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned shared_bytes, CUstream stream,
                                void** parameters, void** extra) {
  QUERN_EMULATED_ENTER();
  const KernelEntry* kernel = kernel_of(function);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  constexpr unsigned kMostBlocks = 65535;  // But for x.
  const unsigned long long n_threads = 1ULL * block_x * block_y * block_z;
  const bool is_valid =
      n_threads > 0 && n_threads <= kernel->max_threads && block_x <= 1024 && block_y <= 1024 &&
      block_z <= 64 && grid_x > 0 && grid_x < 1U << 31 && grid_y > 0 && grid_y <= kMostBlocks &&
      grid_z > 0 && grid_z <= kMostBlocks && shared_bytes <= machine().control("shared_bytes") &&
      parameters != nullptr && parameters[0] != nullptr && extra == nullptr;
  if (!is_valid) return CUDA_ERROR_INVALID_VALUE;
  Launch launch;
  launch.grid.kernel = kernel;
  launch.grid.blocks = {grid_x, grid_y, grid_z};
  launch.grid.threads = {block_x, block_y, block_z};
  launch.grid.shared_bytes = shared_bytes;
  launch.args.resize((kernel->args_bytes + sizeof(uint4) - 1) / sizeof(uint4));
  std::memcpy(launch.args.data(), parameters[0], kernel->args_bytes);
  return enqueue(stream, [launch = std::move(launch)] { return launch.run(); });
}

CUresult CUDAAPI cuStreamCreate(CUstream* handle, unsigned) {
  QUERN_EMULATED_ENTER();
  auto stream = std::make_unique<Stream>();
  stream->device = current_device();
  *handle = keep(machine().streams, std::move(stream));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamDestroy(CUstream handle) {
  QUERN_EMULATED_ENTER();
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const CUresult result = drain(*stream);
  machine().streams.erase(handle);
  return result;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
  QUERN_EMULATED_ENTER();
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->recording != nullptr) {
    stream->is_spoiled = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  ++machine().counts.synchronizations;
  return drain(*stream);
}

CUresult CUDAAPI cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode) {
  QUERN_EMULATED_ENTER();
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->recording != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  stream->recording = std::make_unique<Graph>();
  stream->is_spoiled = false;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  QUERN_EMULATED_ENTER();
  Stream* stream = stream_of(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->recording == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  std::unique_ptr<Graph> recorded = std::move(stream->recording);
  *graph = nullptr;
  if (stream->is_spoiled) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  *graph = keep(machine().graphs, std::move(recorded));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph handle,
                                             unsigned long long) {
  QUERN_EMULATED_ENTER();
  const auto graph = machine().graphs.find(handle);
  if (graph == machine().graphs.end()) return CUDA_ERROR_INVALID_HANDLE;
  *executable = keep(machine().executables, std::make_unique<Graph>(*graph->second));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec handle, CUstream stream) {
  QUERN_EMULATED_ENTER();
  const auto graph = machine().executables.find(handle);
  if (graph == machine().executables.end()) return CUDA_ERROR_INVALID_HANDLE;
  ++machine().counts.recordings;
  for (const Operation& operation : graph->second->operations) {
    if (const CUresult result = enqueue(stream, operation); result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphDestroy(CUgraph handle) {
  QUERN_EMULATED_ENTER();
  return machine().graphs.erase(handle) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec handle) {
  QUERN_EMULATED_ENTER();
  return machine().executables.erase(handle) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

}  // extern "C"
