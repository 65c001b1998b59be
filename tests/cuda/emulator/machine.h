/// \file
/// The emulated machine: devices, their memory, and the work that was given to them.
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace quern::cuda_emulator {

/// Numbers that control.h names.
struct Controls {
  Controls();
  long long* find(const std::string& name);

  std::map<std::string, long long> values;
};

/// Memory between guard pages, so that what a kernel reads beyond it faults.
class GuardedMemory {
 public:
  GuardedMemory() = default;
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  ~GuardedMemory();

  /// All bytes 0xff: numbers read before they are written show. False where there is no memory.
  bool allocate(std::size_t bytes);

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  bool holds(const void* start, std::size_t bytes) const;

 private:
  std::byte* mapping_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

using Memories = std::map<std::uintptr_t, std::unique_ptr<GuardedMemory>>;

/// Work that is done later. Its result is that of the device from then on.
using Operation = std::function<CUresult()>;

struct Graph {
  std::vector<Operation> operations;
};

struct Device;

/// Work waits here until something needs it done, so that a missing wait shows in a test.
struct Stream {
  Device* device = nullptr;
  std::vector<Operation> queue;
  std::unique_ptr<Graph> recording;
  bool is_spoiled = false;  ///< Something was done that cannot be recorded.
};

/// A loaded fatbin: the kernels of one .cu file.
struct Module {
  Device* device = nullptr;
  std::string name;
};

/// A device and its primary context, whose handle is its address.
struct Device {
  int n_retained = 0;
  CUresult lost = CUDA_SUCCESS;
  std::size_t used_bytes = 0;
  Memories memories;
  Memories pinned;
};

/// What was asked of the machine since the start.
struct Counts {
  long long launches = 0;    ///< Kernels that ran, in a recording or not.
  long long recordings = 0;  ///< Recordings that were started.
  long long synchronizations = 0;
  long long bytes_to_host = 0;
  long long peak_bytes = 0;  ///< Most device memory that was allocated at a time.
  long long leaks = 0;       ///< What was still there when a context ended that had not been lost.
};

struct Machine {
  ~Machine();  ///< Prints the counts where the control `reports` says so.

  std::mutex mutex;  ///< Held by every driver function.
  Controls controls;
  std::array<Device, 2> devices;
  std::map<CUstream, std::unique_ptr<Stream>> streams;
  std::map<CUmodule, std::unique_ptr<Module>> modules;
  std::map<CUgraph, std::unique_ptr<Graph>> graphs;
  std::map<CUgraphExec, std::unique_ptr<Graph>> executables;
  Counts counts;
  bool is_initialised = false;

  long long control(const char* name) { return *controls.find(name); }
};

Machine& machine();

/// The device whose context is current; null where there is none.
Device* current_device();

/// CUDA_SUCCESS where work may be given to the current device.
CUresult check_context();

/// The allocation that holds all of it, of device or pinned memory; null where none does.
const GuardedMemory* find_device_memory(std::uintptr_t start, std::size_t bytes);
const GuardedMemory* find_pinned_memory(const void* start, std::size_t bytes);

/// Gives `operation` to the stream, or records it.
CUresult enqueue(CUstream handle, Operation operation);
/// Does everything that waits in the stream.
CUresult drain(Stream& stream);
/// The same for all streams of a device but those that record.
CUresult drain(Device& device);
/// True while the stream records.
bool is_recording(CUstream handle);

}  // namespace quern::cuda_emulator
