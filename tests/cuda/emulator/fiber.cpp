#include "tests/cuda/emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace quern::cuda_emulator {
namespace {

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

Fiber::Fiber(void (*body)()) {
  const std::size_t page = page_bytes();
  void* memory = ::mmap(nullptr, kStackBytes + 2 * page, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<std::byte*>(memory);
  if (::mprotect(memory_ + page, kStackBytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  ::getcontext(&start_);
  start_.uc_stack.ss_sp = memory_ + page;
  start_.uc_stack.ss_size = kStackBytes;
  start_.uc_link = nullptr;
  ::makecontext(&start_, body, 0);
}

Fiber::~Fiber() { ::munmap(memory_, kStackBytes + 2 * page_bytes()); }

const std::byte* Fiber::stack() const { return memory_ + page_bytes(); }

// A jump must not stand in the function that its place was taken in.
__attribute__((noinline)) void go_on_at(Place& place) { __builtin_longjmp(place.registers, 1); }

__attribute__((noinline)) void Fiber::go_on() {
  if (is_started_) go_on_at(place_);
  is_started_ = true;
  ::setcontext(&start_);
}

__attribute__((noinline)) void Fiber::enter(Place& from) {
  if (__builtin_setjmp(from.registers) == 0) go_on();
}

__attribute__((noinline)) void Fiber::leave_to(Place& place) {
  if (__builtin_setjmp(place_.registers) == 0) go_on_at(place);
}

}  // namespace quern::cuda_emulator
