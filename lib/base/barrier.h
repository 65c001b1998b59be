/// \file
/// Where the threads of a step meet.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace quern::base {

/// A barrier for a number of threads, usable again and again. Waiters spin for a bounded time (a
/// step's barriers are a few hundred nanoseconds apart) and then sleep, so that an oversubscribed
/// machine loses a time slice, not a core. Thread rule: exactly `threads` threads call wait();
/// start() and slept() while none does.
class Barrier {
 public:
  explicit Barrier(int threads) noexcept : threads_(threads) {}

  /// Sets the number of threads and forgets the time slept.
  void start(int threads) noexcept {
    threads_ = threads;
    slept_ns_.store(0, std::memory_order_relaxed);
  }
  /// Time that all waiters together were asleep since start().
  std::chrono::nanoseconds slept() const noexcept {
    return std::chrono::nanoseconds(slept_ns_.load(std::memory_order_relaxed));
  }

  void wait() noexcept {
    wait([] {});
  }

  /// \param idle called again and again while spinning: something short that may help the others.
  template <class Idle>
  void wait(Idle idle) noexcept {
    if (threads_ == 1) return;
    const std::uint32_t generation = generation_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      // Sequentially consistent, not just release: notify_all skips the wake-up when it sees nobody
      // asleep, and that look must not pass the store, or a thread falling asleep meanwhile is
      // missed.
      generation_.store(generation + 1, std::memory_order_seq_cst);
      generation_.notify_all();
      return;
    }
    for (int spin = 0; spin < kSpins; ++spin) {
      if (generation_.load(std::memory_order_acquire) != generation) return;
      idle();
      pause();
    }
    const auto begin = std::chrono::steady_clock::now();
    while (generation_.load(std::memory_order_acquire) == generation) {
      generation_.wait(generation, std::memory_order_acquire);
    }
    const std::chrono::nanoseconds slept = std::chrono::steady_clock::now() - begin;
    slept_ns_.fetch_add(slept.count(), std::memory_order_relaxed);
  }

 private:
  static constexpr int kSpins = 4000;  ///< About 50–100 µs.

  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  int threads_;
  std::atomic<std::int64_t> slept_ns_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
};

}  // namespace quern::base
