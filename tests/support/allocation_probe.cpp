#include "support/allocation_probe.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

struct Counters {
  std::size_t largest = 0, count = 0;
  long long held = 0, peak = 0;
};
thread_local Counters counters;

void* count_in(void* memory, std::size_t size) {
  if (memory == nullptr) throw std::bad_alloc();
  counters.largest = std::max(counters.largest, size);
  ++counters.count;
  counters.held += static_cast<long long>(malloc_usable_size(memory));
  counters.peak = std::max(counters.peak, counters.held);
  return memory;
}

void give_back(void* memory) noexcept {
  if (memory == nullptr) return;
  counters.held -= static_cast<long long>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return count_in(std::malloc(size == 0 ? 1 : size), size); }
void* operator new(std::size_t size, std::align_val_t align) {
  void* memory = nullptr;
  if (posix_memalign(&memory, static_cast<std::size_t>(align), size) != 0) memory = nullptr;
  return count_in(memory, size);
}
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_back(memory); }

namespace quern::testing {

AllocationProbe::AllocationProbe() { counters = Counters{}; }
std::size_t AllocationProbe::largest() const { return counters.largest; }
std::size_t AllocationProbe::peak() const { return static_cast<std::size_t>(counters.peak); }
std::size_t AllocationProbe::count() const { return counters.count; }

}  // namespace quern::testing
