#include "tests/cuda/emulator/block.h"

#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "tests/cuda/emulator/fiber.h"
#include "tests/cuda/emulator/grid.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace quern::cuda_emulator {

unsigned char* dynamic_shared = nullptr;

namespace {

constexpr unsigned kLanes = 32;

/// A counter that a thread waits to see changed.
struct Wait {
  const std::uint32_t* counter = nullptr;
  std::uint32_t value = 0;
  bool is_over() const { return counter == nullptr || *counter != value; }
};

struct Thread {
  uint3 index = {};
  Fiber* fiber = nullptr;
  Wait wait;
  bool is_started = false;
  bool has_ended = false;
  bool can_run() const { return is_started && !has_ended && wait.is_over(); }
};

/// The lanes that meet under one mask. Payloads alternate between two places: a lane that comes
/// again proves that all have read those of the time before the last.
struct Group {
  unsigned mask = 0;
  unsigned arrived = 0;
  std::uint32_t generation = 0;
  Collective kind = Collective::kSync;
  Payload payloads[2][kLanes];

  void complete() {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const bool is_missing = (mask & ~arrived) >> lane & 1U;
      if (is_missing) std::memset(&payloads[generation & 1][lane], 0xff, sizeof(Payload));
    }
    arrived = 0;
    ++generation;
  }
};

struct Warp {
  unsigned living = 0;
  std::deque<Group> groups;

  Group& group(unsigned mask) {
    for (Group& known : groups) {
      if (known.mask == mask) return known;
    }
    groups.emplace_back().mask = mask;
    return groups.back();
  }
};

/// The block that runs, and what is kept from block to block.
struct Block {
  Grid grid;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  unsigned running = 0;    ///< Index of the running thread.
  unsigned n_started = 0;  ///< Threads begin in order, or in reverse.
  unsigned n_living = 0;
  unsigned n_at_barrier = 0;
  std::uint32_t barrier_generation = 0;
  unsigned votes[2] = {};
  Fiber* fiber = nullptr;  ///< The running one.
  std::vector<Fiber*> idle;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Place launcher;  ///< Where run_grid waits.
  Outcome outcome = Outcome::kDone;
  std::vector<unsigned char> shared;
};

Block block;

/// Every fiber's body: starts threads as long as there are any, then waits to be reused.
void start_threads();

void go_to(Fiber& next, Fiber& from) {
  block.fiber = &next;
  from.leave_to(next);
}

Fiber& take_idle_fiber() {
  if (block.idle.empty()) {
    block.fibers.push_back(std::make_unique<Fiber>(start_threads));
    block.idle.push_back(block.fibers.back().get());
  }
  Fiber* const fiber = block.idle.back();
  block.idle.pop_back();
  return *fiber;
}

/// A thread that can go on, from the running one's warp if there is one; n_threads if there is
/// none at all.
unsigned find_runnable() {
  const auto n_threads = static_cast<unsigned>(block.threads.size());
  const auto n_warps = static_cast<unsigned>(block.warps.size());
  const unsigned turn = block.grid.is_reversed ? kLanes - 1 : 1;
  for (unsigned w = 0; w < n_warps; ++w) {
    const unsigned first = (block.running / kLanes + w) % n_warps * kLanes;
    for (unsigned i = 1; i <= kLanes; ++i) {
      const unsigned candidate = first + (block.running + i * turn) % kLanes;
      if (candidate < n_threads && block.threads[candidate].can_run()) return candidate;
    }
  }
  return n_threads;
}

/// Leaves the running fiber for whatever can go on.
void leave() {
  Fiber& from = *block.fiber;
  if (block.n_living == 0) return from.leave_to(block.launcher);
  const unsigned next = find_runnable();
  if (next < block.threads.size()) {
    block.running = next;
    threadIdx = block.threads[next].index;
    if (block.threads[next].fiber != &from) go_to(*block.threads[next].fiber, from);
  } else if (block.n_started < block.threads.size()) {
    go_to(take_idle_fiber(), from);
  } else {
    fail_launch("a deadlock: every thread that has not ended waits");
  }
}

/// Lets others run until `counter` has changed.
void wait_for(const std::uint32_t& counter) {
  Wait& wait = block.threads[block.running].wait;
  wait = {&counter, counter};
  while (!wait.is_over()) leave();
  wait = {};
}

void complete_barrier() {
  block.n_at_barrier = 0;
  ++block.barrier_generation;
}

/// The running thread has returned from the kernel; those that waited for it alone can go on.
void end_thread() {
  block.threads[block.running].has_ended = true;
  --block.n_living;
  Warp& warp = block.warps[block.running / kLanes];
  warp.living &= ~(1U << lane_of_thread());
  for (Group& group : warp.groups) {
    const bool is_whole = (group.mask & warp.living & ~group.arrived) == 0;
    if (group.arrived != 0 && is_whole) group.complete();
  }
  if (block.n_at_barrier != 0 && block.n_at_barrier == block.n_living) complete_barrier();
}

void start_threads() {
  Fiber* const me = block.fiber;
  for (;;) {
    while (block.n_started < block.threads.size()) {
      const auto n_threads = static_cast<unsigned>(block.threads.size());
      const unsigned order = block.n_started++;
      block.running = block.grid.is_reversed ? n_threads - 1 - order : order;
      Thread& thread = block.threads[block.running];
      thread.fiber = me;
      thread.is_started = true;
      threadIdx = thread.index;
      block.grid.kernel->run(block.grid.args);
      end_thread();
    }
    block.idle.push_back(me);
    leave();
  }
}

/// Makes every thread of the block wait for its start.
void prepare_block() {
  const dim3 size = block.grid.threads;
  const unsigned n_threads = size.x * size.y * size.z;
  block.threads.assign(n_threads, Thread());
  for (unsigned i = 0; i < n_threads; ++i) {
    block.threads[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
  }
  block.warps.resize((n_threads + kLanes - 1) / kLanes);
  for (unsigned w = 0; w < block.warps.size(); ++w) {
    const unsigned n_lanes = std::min(kLanes, n_threads - w * kLanes);
    block.warps[w].living = n_lanes == kLanes ? ~0U : (1U << n_lanes) - 1;
    for (Group& group : block.warps[w].groups) group.arrived = 0;
  }
  block.n_started = 0;
  block.n_living = n_threads;
  block.n_at_barrier = 0;
  block.votes[0] = block.votes[1] = 0;
  std::fill(block.shared.begin(), block.shared.end(), static_cast<unsigned char>(0xff));
}

[[noreturn]] void give_up(Outcome outcome) {
  block.outcome = outcome;
  go_on_at(block.launcher);
}

thread_local bool runs_kernel = false;
struct sigaction handler_before[2];
constexpr int kSignals[2] = {SIGSEGV, SIGBUS};

/// A kernel touched what it does not own; anything else is not ours to handle.
void on_fault(int signal, siginfo_t* info, void*) {
  if (!runs_kernel) {
    ::sigaction(signal, &handler_before[signal == SIGBUS ? 1 : 0], nullptr);
    return;
  }
  // A vector access at an odd address is the processor's protection fault: no address is told.
  const bool is_misaligned = signal == SIGBUS || info->si_code == SI_KERNEL;
  give_up(is_misaligned ? Outcome::kMisalignedAddress : Outcome::kIllegalAddress);
}

/// Catches faults as long as a grid runs.
class FaultGuard {
 public:
  FaultGuard() : stack_(64 * 1024) {
    stack_t own = {};
    own.ss_sp = stack_.data();
    own.ss_size = stack_.size();
    ::sigaltstack(&own, &stack_before_);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 2; ++i) ::sigaction(kSignals[i], &action, &handler_before[i]);
    runs_kernel = true;
  }
  FaultGuard(const FaultGuard&) = delete;
  FaultGuard& operator=(const FaultGuard&) = delete;
  ~FaultGuard() {
    runs_kernel = false;
    for (int i = 0; i < 2; ++i) ::sigaction(kSignals[i], &handler_before[i], nullptr);
    ::sigaltstack(&stack_before_, nullptr);
  }

 private:
  std::vector<std::byte> stack_;
  stack_t stack_before_ = {};
};

void run_block(unsigned long long index) {
  const dim3 size = block.grid.blocks;
  blockIdx = {static_cast<unsigned>(index % size.x), static_cast<unsigned>(index / size.x % size.y),
              static_cast<unsigned>(index / size.x / size.y)};
  prepare_block();
  Fiber& first = take_idle_fiber();
  block.fiber = &first;
  first.enter(block.launcher);
}

}  // namespace

unsigned lane_of_thread() { return block.running % kLanes; }

unsigned living_lanes(unsigned mask) { return mask & block.warps[block.running / kLanes].living; }

void fail_launch(const char* why) {
  std::fprintf(stderr, "emulated device: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n",
               block.grid.kernel->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
               threadIdx.y, threadIdx.z, why);
  give_up(Outcome::kLaunchFailed);
}

const Payload* exchange(unsigned mask, Collective kind, const Payload& mine) {
  const unsigned lane = lane_of_thread();
  if ((mask >> lane & 1U) == 0) fail_launch("a lane is not in the mask that it waits with");
  Warp& warp = block.warps[block.running / kLanes];
  Group& group = warp.group(mask);
  if (group.arrived == 0) group.kind = kind;
  if (group.kind != kind) fail_launch("lanes of a warp meet in different operations");
  Payload(&payloads)[kLanes] = group.payloads[group.generation & 1];
  payloads[lane] = mine;
  group.arrived |= 1U << lane;
  if ((mask & warp.living & ~group.arrived) == 0) {
    group.complete();
  } else {
    wait_for(group.generation);
  }
  return payloads;
}

unsigned block_barrier(bool vote) {
  const std::uint32_t generation = block.barrier_generation;
  unsigned& votes = block.votes[generation & 1];
  if (block.n_at_barrier == 0) votes = 0;
  votes += vote ? 1 : 0;
  if (++block.n_at_barrier == block.n_living) {
    complete_barrier();
  } else {
    wait_for(block.barrier_generation);
  }
  return votes;
}

Outcome run_grid(const Grid& grid) {
  block.grid = grid;
  block.outcome = Outcome::kDone;
  block.shared.resize(grid.shared_bytes);
  dynamic_shared = block.shared.data();
  blockDim = grid.threads;
  gridDim = grid.blocks;
  const unsigned long long n_blocks = 1ULL * grid.blocks.x * grid.blocks.y * grid.blocks.z;
  const FaultGuard guard;
  for (unsigned long long i = 0; i < n_blocks && block.outcome == Outcome::kDone; ++i) {
    run_block(grid.is_reversed ? n_blocks - 1 - i : i);
  }
  if (block.outcome != Outcome::kDone) {
    // What the threads held is lost with their stacks.
    block.idle.clear();
    block.fibers.clear();
    block.warps.clear();
  }
  return block.outcome;
}

namespace {

const KernelEntry*& kernel_list() {
  static const KernelEntry* first = nullptr;
  return first;
}

}  // namespace

KernelEntry::KernelEntry(const char* name_, const char* file_, std::size_t args_bytes_,
                         unsigned max_threads_, void (*run_)(const void*))
    : name(name_),
      file(file_),
      args_bytes(args_bytes_),
      max_threads(max_threads_),
      run(run_),
      next(kernel_list()) {
  kernel_list() = this;
}

const KernelEntry* first_kernel() { return kernel_list(); }

}  // namespace quern::cuda_emulator
