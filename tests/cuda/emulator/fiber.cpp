#include "tests/cuda/emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace quern::cuda_emulator {
namespace {

std::size_t page_bytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

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

void Fiber::enter(Place& from) {
  if (_setjmp(from.registers) != 0) return;
  if (is_started_) _longjmp(place_.registers, 1);
  is_started_ = true;
  ::setcontext(&start_);
}

void Fiber::leave_to(Place& place) {
  if (_setjmp(place_.registers) == 0) _longjmp(place.registers, 1);
}

}  // namespace quern::cuda_emulator
