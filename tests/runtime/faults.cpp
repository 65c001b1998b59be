#include "faults.h"

#include <cstdlib>
#include <new>

namespace {

struct State {
  bool counting = false, fired = false;
  std::size_t count = 0, fail_at = 0;
};
thread_local State state;

void note() {
  if (!state.counting) return;
  if (++state.count == state.fail_at) {
    state.fired = true;
    throw std::bad_alloc();
  }
}

void* checked(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  note();
  return checked(std::malloc(size == 0 ? 1 : size));
}
void* operator new(std::size_t size, std::align_val_t align) {
  note();
  const auto alignment = static_cast<std::size_t>(align);
  return checked(std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment));
}
// Inlined beside a new that is not, it would look as if the two did not belong together.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace quern::test {

AllocationFault::AllocationFault(std::size_t fail_at) { state = {true, false, 0, fail_at}; }
AllocationFault::~AllocationFault() { state.counting = false; }
std::size_t AllocationFault::count() const { return state.count; }
bool AllocationFault::fired() const { return state.fired; }

bool AllocationFault::works() {
  const AllocationFault fault;
  ::operator delete(::operator new(1));
  return fault.count() > 0;
}

}  // namespace quern::test
