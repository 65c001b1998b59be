#include "tests/cuda/emulator/machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/cuda/emulator/control.h"

namespace quern::cuda_emulator {

Controls::Controls() {
  values = {{"driver_version", 12040},
            {"n_devices", 1},
            {"compute_capability", 90},
            {"memory_bytes", 8LL << 30},
            {"shared_bytes", 101376},
            {"lose_after_launches", -1},
            {"is_reversed", 0},
            {"start_result", 0},
            {"reports", 0},
            {"watches", 0}};
  for (auto& [name, value] : values) {
    std::string variable = "QUERN_EMULATOR_" + name;
    std::transform(variable.begin(), variable.end(), variable.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const char* text = std::getenv(variable.c_str());
    if (text != nullptr) value = std::strtoll(text, nullptr, 0);
  }
}

long long* Controls::find(const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? nullptr : &found->second;
}

GuardedMemory::~GuardedMemory() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapped_bytes_);
}

bool GuardedMemory::allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 256;  // What the driver promises.
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (bytes > (std::size_t{1} << 46)) return false;
  const std::size_t aligned = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t inner = (aligned + page - 1) / page * page;
  void* mapping = ::mmap(nullptr, inner + 2 * page, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return false;
  mapping_ = static_cast<std::byte*>(mapping);
  mapped_bytes_ = inner + 2 * page;
  if (::mprotect(mapping_ + page, inner, PROT_READ | PROT_WRITE) != 0) return false;
  data_ = mapping_ + page + inner - aligned;
  bytes_ = bytes;
  std::memset(data_, 0xff, aligned);
  return true;
}

bool GuardedMemory::holds(const void* start, std::size_t bytes) const {
  const auto first = reinterpret_cast<std::uintptr_t>(start);
  const auto own = reinterpret_cast<std::uintptr_t>(data_);
  return first >= own && first - own <= bytes_ && bytes <= bytes_ - (first - own);
}

Machine::~Machine() {
  if (control("reports") == 0) return;
  std::fprintf(stderr,
               "emulated device: launches %lld, recordings %lld, synchronizations %lld, "
               "bytes_to_host %lld, peak_bytes %lld\n",
               counts.launches, counts.recordings, counts.synchronizations, counts.bytes_to_host,
               counts.peak_bytes);
}

Machine& machine() {
  static Machine instance;
  return instance;
}

namespace {

const GuardedMemory* find(const Memories& memories, const void* start, std::size_t bytes) {
  auto after = memories.upper_bound(reinterpret_cast<std::uintptr_t>(start));
  if (after == memories.begin()) return nullptr;
  const GuardedMemory& memory = *std::prev(after)->second;
  return memory.holds(start, bytes) ? &memory : nullptr;
}

}  // namespace

const GuardedMemory* find_device_memory(std::uintptr_t start, std::size_t bytes) {
  for (const Device& device : machine().devices) {
    const GuardedMemory* memory =
        find(device.memories, reinterpret_cast<const void*>(start), bytes);
    if (memory != nullptr) return memory;
  }
  return nullptr;
}

const GuardedMemory* find_pinned_memory(const void* start, std::size_t bytes) {
  for (const Device& device : machine().devices) {
    if (const GuardedMemory* memory = find(device.pinned, start, bytes)) return memory;
  }
  return nullptr;
}

CUresult enqueue(CUstream handle, Operation operation) {
  const auto found = machine().streams.find(handle);
  if (found == machine().streams.end()) return CUDA_ERROR_INVALID_HANDLE;
  Stream& stream = *found->second;
  if (stream.device != current_device()) return CUDA_ERROR_INVALID_CONTEXT;
  auto& list = stream.recording != nullptr ? stream.recording->operations : stream.queue;
  list.push_back(std::move(operation));
  constexpr std::size_t kLongest = 100000;
  return stream.recording == nullptr && list.size() >= kLongest ? drain(stream) : CUDA_SUCCESS;
}

CUresult drain(Stream& stream) {
  std::vector<Operation> queue;
  std::swap(queue, stream.queue);
  for (const Operation& operation : queue) {
    if (stream.device->lost == CUDA_SUCCESS) stream.device->lost = operation();
  }
  return stream.device->lost;
}

CUresult drain(Device& device) {
  for (auto& [handle, stream] : machine().streams) {
    if (stream->device == &device) drain(*stream);
  }
  return device.lost;
}

bool is_recording(CUstream handle) {
  const auto found = machine().streams.find(handle);
  return found != machine().streams.end() && found->second->recording != nullptr;
}

}  // namespace quern::cuda_emulator

extern "C" {

using quern::cuda_emulator::machine;

int quern_emulator_set(const char* name, long long value) {
  const std::lock_guard lock(machine().mutex);
  long long* const control = machine().controls.find(name);
  if (control == nullptr) return 1;
  *control = value;
  return 0;
}

long long quern_emulator_get(const char* name) {
  auto& m = machine();
  const std::lock_guard lock(m.mutex);
  long long used = 0, allocations = 0, contexts = 0;
  for (const auto& device : m.devices) {
    used += static_cast<long long>(device.used_bytes);
    allocations += static_cast<long long>(device.memories.size() + device.pinned.size());
    contexts += device.n_retained > 0 ? 1 : 0;
  }
  const std::map<std::string, long long> counted = {
      {"launches", m.counts.launches},
      {"recordings", m.counts.recordings},
      {"synchronizations", m.counts.synchronizations},
      {"bytes_to_host", m.counts.bytes_to_host},
      {"peak_bytes", m.counts.peak_bytes},
      {"leaks", m.counts.leaks},
      {"allocated_bytes", used},
      {"allocations", allocations},
      {"contexts", contexts},
      {"streams", static_cast<long long>(m.streams.size())},
      {"graphs", static_cast<long long>(m.graphs.size() + m.executables.size())},
      {"modules", static_cast<long long>(m.modules.size())}};
  const auto found = counted.find(name);
  if (found != counted.end()) return found->second;
  const long long* control = m.controls.find(name);
  return control != nullptr ? *control : -1;
}

void quern_emulator_reset(void) {
  const std::lock_guard lock(machine().mutex);
  machine().controls = quern::cuda_emulator::Controls();
}

}  // extern "C"
