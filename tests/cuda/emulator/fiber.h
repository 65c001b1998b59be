/// \file
/// Stacks that take turns on one thread of the process.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <memory>

namespace quern::cuda_emulator {

/// Where a stack stopped. The compiler's own setjmp, because libc's is watched by sanitizers, which
/// know one stack a thread; it makes no system call either.
struct Place {
  void* registers[5];
};

/// Goes on at `place`, whose stack has to be there still.
[[noreturn]] void go_on_at(Place& place);

/// A stack of 64 KiB between guard pages that runs `body`, which never returns.
class Fiber {
 public:
  explicit Fiber(void (*body)());
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  /// Saves where the caller is and goes on where this fiber stopped, the first time with its body.
  void enter(Place& from);
  /// Saves where this fiber, the running one, is and goes on with another, or at a place.
  void leave_to(Fiber& other) { other.enter(place_); }
  void leave_to(Place& place);

  static constexpr std::size_t kStackBytes = 64 * 1024;
  const std::byte* stack() const;

 private:
  void go_on();

  Place place_ = {};
  ucontext_t start_ = {};
  bool is_started_ = false;
  std::byte* memory_ = nullptr;
};

}  // namespace quern::cuda_emulator
