#include "quern/executor.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#if defined(__linux__)
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#endif
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace quern {
namespace {

constexpr int kMaxThreads = 1024;

#if defined(__linux__)
/// Reads a small file of /sys; an empty buffer where it cannot be had.
std::size_t read_small(const char* path, char* buffer, std::size_t size) noexcept {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t n = ::read(fd, buffer, size - 1);
  ::close(fd);
  if (n <= 0) return 0;
  buffer[n] = '\0';
  return static_cast<std::size_t>(n);
}

/// Whole cores that the cgroup's CPU quota allows (rounded up), or `all` where there is no quota.
int quota_cores(int all) noexcept {
  char text[128];
  long long quota = -1;
  long long period = 100000;
  if (read_small("/sys/fs/cgroup/cpu.max", text, sizeof text) != 0) {  // cgroup v2: "max 100000"
    char* end = nullptr;
    quota = std::strtoll(text, &end, 10);
    if (end == text) return all;
    period = std::strtoll(end, nullptr, 10);
  } else if (read_small("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text) != 0) {
    quota = std::strtoll(text, nullptr, 10);
    if (read_small("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text, sizeof text) != 0) {
      period = std::strtoll(text, nullptr, 10);
    }
  }
  if (quota <= 0 || period <= 0) return all;
  const long long cores = (quota + period - 1) / period;
  return static_cast<int>(std::clamp<long long>(cores, 1, all));
}
#endif

class SerialExecutor final : public Executor {
 public:
  int threads() const noexcept override { return 1; }
  bool run(int n, void (*work)(void*, int), void* context) noexcept override {
    if (n != 1) return false;
    work(context, 0);
    return true;
  }
};

#if defined(_OPENMP)
/// The processor that the calling thread runs on, or −1.
int current_processor() noexcept {
#if defined(__linux__)
  return ::sched_getcpu();
#else
  return -1;
#endif
}

/// A thread begins on its creator's processor, where both wait for each other until the kernel
/// balances them: a first token took 28 ms with two threads, 19 with one. So each goes once to
/// another processor that it may use, and is free again to go where the kernel wants it.
void leave_processor(int creators, int thread) noexcept {
#if defined(__linux__)
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (creators < 0 || ::sched_getaffinity(0, sizeof usable, &usable) != 0) return;
  int left = thread;
  for (int step = 1; step < CPU_SETSIZE; ++step) {
    const auto processor = static_cast<std::size_t>((creators + step) % CPU_SETSIZE);
    if (!CPU_ISSET(processor, &usable) || --left > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (::sched_setaffinity(0, sizeof one, &one) == 0) {
      ::sched_setaffinity(0, sizeof usable, &usable);
    }
    return;
  }
#else
  static_cast<void>(creators);
  static_cast<void>(thread);
#endif
}

class OpenMpExecutor final : public Executor {
 public:
  explicit OpenMpExecutor(int threads) noexcept : threads_(threads) {}
  int threads() const noexcept override { return threads_; }

  bool run(int n, void (*work)(void*, int), void* context) noexcept override {
    bool complete = true;
    const int creators = current_processor();
#pragma omp parallel num_threads(n) default(none) shared(complete, work, context, n, creators)
    {
      thread_local bool is_placed = false;
      const int thread = omp_get_thread_num();
      if (thread != 0 && !is_placed) leave_processor(creators, thread);
      is_placed = true;
      // A thread limit, or a host's own parallel region, may leave fewer threads than asked for.
      // They would wait for each other for ever, so nobody starts.
      if (omp_get_num_threads() == n) {
        work(context, thread);
      } else {
#pragma omp single
        complete = false;
      }
    }
    return complete;
  }

 private:
  const int threads_;
};
#endif

}  // namespace

int usable_cores() noexcept {
  int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  cores = quota_cores(cores);
#endif
  return std::min(cores, kMaxThreads);
}

Result<std::unique_ptr<Executor>> make_executor(int threads) {
  if (threads < 0 || threads > kMaxThreads) {
    return Error(ErrorCode::kOutOfRange, "the number of threads is out of range")
        .of("threads")
        .want("0 to 1024")
        .got(std::to_string(threads));
  }
  if (threads == 0) threads = usable_cores();
#if defined(_OPENMP)
  if (threads > 1) return std::unique_ptr<Executor>(std::make_unique<OpenMpExecutor>(threads));
#endif
  return std::unique_ptr<Executor>(std::make_unique<SerialExecutor>());
}

}  // namespace quern
