#include "tests/cuda/emulator/block.h"

#include <signal.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "tests/cuda/emulator/access.h"
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

struct Thread {
  uint3 index = {};
  Fiber* fiber = nullptr;
};

/// The lanes that meet under one mask. Payloads alternate between two places: a lane that comes
/// again proves that all have read those of the time before the last.
struct Group {
  unsigned mask = 0;
  unsigned arrived = 0;
  std::uint32_t generation = 0;
  Collective kind = Collective::kSync;
  Payload payloads[2][kLanes];

  /// \return the lanes that had arrived.
  unsigned complete() {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const bool is_missing = (mask & ~arrived) >> lane & 1U;
      if (is_missing) std::memset(&payloads[generation & 1][lane], 0xff, sizeof(Payload));
    }
    ++generation;
    return std::exchange(arrived, 0U);
  }
};

/// Masks of lanes.
struct Warp {
  unsigned living = 0;
  unsigned ready = 0;  ///< Have started, and what they waited for has come.
  unsigned at_barrier = 0;
  unsigned meetings = 0;  ///< Of all lanes, for nothing else.
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
  unsigned ready_warps = 0;  ///< A mask: those with lanes that are ready.
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

Warp& running_warp() { return block.warps[block.running / kLanes]; }

/// Tells what watches where the running thread stands.
void note_standing() {
  standing.thread = block.running;
  standing.barrier = block.barrier_generation;
  standing.meeting = running_warp().meetings;
  standing.stack = block.threads[block.running].fiber->stack();
}

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

/// The bit of `mask` that comes after bit `from`, or before it where the order is reversed.
unsigned next_bit(unsigned mask, unsigned from) {
  const unsigned turned = std::rotr(mask, static_cast<int>(from + 1));
  const int offset =
      block.grid.is_reversed ? 31 - std::countl_zero(turned) : std::countr_zero(turned);
  return (from + 1 + static_cast<unsigned>(offset)) % 32;
}

void make_ready(unsigned warp, unsigned lanes) {
  block.warps[warp].ready |= lanes;
  if (lanes != 0) block.ready_warps |= 1U << warp;
}

/// Makes a thread that is ready the running one, if possible of the same warp.
void choose_ready() {
  unsigned warp = block.running / kLanes;
  if (block.warps[warp].ready == 0) warp = next_bit(block.ready_warps, warp);
  Warp& chosen = block.warps[warp];
  const unsigned lane = next_bit(chosen.ready, block.running % kLanes);
  chosen.ready &= ~(1U << lane);
  if (chosen.ready == 0) block.ready_warps &= ~(1U << warp);
  block.running = warp * kLanes + lane;
  threadIdx = block.threads[block.running].index;
  note_standing();
}

/// Leaves the running fiber for whatever can go on; comes back when its thread is ready.
void leave() {
  Fiber& from = *block.fiber;
  if (block.n_living == 0) return from.leave_to(block.launcher);
  if (block.ready_warps != 0) {
    choose_ready();
    go_to(*block.threads[block.running].fiber, from);
  } else if (block.n_started < block.threads.size()) {
    go_to(take_idle_fiber(), from);
  } else {
    fail_launch("a deadlock: every thread that has not ended waits");
  }
}

void complete_barrier() {
  for (unsigned w = 0; w < block.warps.size(); ++w) {
    make_ready(w, block.warps[w].at_barrier);
    block.warps[w].at_barrier = 0;
  }
  block.n_at_barrier = 0;
  ++block.barrier_generation;
  note_standing();
}

/// All lanes of a group have come. \return the ones that wait.
unsigned complete(Warp& warp, Group& group) {
  const bool is_whole = (warp.living & ~group.mask) == 0;
  if (group.kind == Collective::kSync && is_whole) ++warp.meetings;
  note_standing();
  return group.complete();
}

/// The running thread has returned from the kernel; those that waited for it alone can go on.
void end_thread() {
  --block.n_living;
  Warp& warp = running_warp();
  warp.living &= ~(1U << lane_of_thread());
  for (Group& group : warp.groups) {
    const bool is_whole = (group.mask & warp.living & ~group.arrived) == 0;
    if (group.arrived != 0 && is_whole) make_ready(block.running / kLanes, complete(warp, group));
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
      threadIdx = thread.index;
      note_standing();
      block.grid.kernel->run(block.grid.args);
      end_thread();
    }
    block.idle.push_back(me);
    leave();
  }
}

/// What is the same for every block of the grid.
void prepare_grid() {
  const dim3 size = block.grid.threads;
  const unsigned n_threads = size.x * size.y * size.z;
  block.threads.resize(n_threads);
  for (unsigned i = 0; i < n_threads; ++i) {
    block.threads[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
  }
  block.warps.resize((n_threads + kLanes - 1) / kLanes);
  block.shared.resize(block.grid.shared_bytes);
  dynamic_shared = block.shared.data();
  blockDim = size;
  gridDim = block.grid.blocks;
}

/// Makes every thread of the block wait for its start.
void prepare_block() {
  const auto n_threads = static_cast<unsigned>(block.threads.size());
  for (unsigned w = 0; w < block.warps.size(); ++w) {
    Warp& warp = block.warps[w];
    const unsigned n_lanes = std::min(kLanes, n_threads - w * kLanes);
    warp.living = n_lanes == kLanes ? ~0U : (1U << n_lanes) - 1;
    warp.ready = 0;
    warp.at_barrier = 0;
    for (Group& group : warp.groups) group.arrived = 0;
  }
  block.running = 0;
  block.n_started = 0;
  block.n_living = n_threads;
  block.n_at_barrier = 0;
  block.ready_warps = 0;
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
  FaultGuard() {
    static std::byte stack[64 * 1024];
    stack_t own = {};
    own.ss_sp = stack;
    own.ss_size = sizeof(stack);
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
  stack_t stack_before_ = {};
};

void run_block(unsigned long long index) {
  const dim3 size = block.grid.blocks;
  blockIdx = {static_cast<unsigned>(index % size.x), static_cast<unsigned>(index / size.x % size.y),
              static_cast<unsigned>(index / size.x / size.y)};
  standing.block = static_cast<std::uint32_t>(index);
  prepare_block();
  Fiber& first = take_idle_fiber();
  block.fiber = &first;
  first.enter(block.launcher);
}

}  // namespace

unsigned lane_of_thread() { return block.running % kLanes; }

unsigned living_lanes(unsigned mask) { return mask & running_warp().living; }

void fail_launch(const char* why) {
  std::fprintf(stderr, "emulated device: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n",
               block.grid.kernel->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
               threadIdx.y, threadIdx.z, why);
  give_up(Outcome::kLaunchFailed);
}

void fail_misaligned() { give_up(Outcome::kMisalignedAddress); }

const Payload* exchange(unsigned mask, Collective kind, const unsigned* mine, unsigned n_words) {
  const unsigned lane = lane_of_thread();
  if ((mask >> lane & 1U) == 0) fail_launch("a lane is not in the mask that it waits with");
  Warp& warp = running_warp();
  Group& group = warp.group(mask);
  if (group.arrived == 0) group.kind = kind;
  if (group.kind != kind) fail_launch("lanes of a warp meet in different operations");
  Payload(&payloads)[kLanes] = group.payloads[group.generation & 1];
  for (unsigned i = 0; i < n_words; ++i) payloads[lane].words[i] = mine[i];
  group.arrived |= 1U << lane;
  if ((mask & warp.living & ~group.arrived) == 0) {
    make_ready(block.running / kLanes, complete(warp, group) & ~(1U << lane));
  } else {
    leave();
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
    running_warp().at_barrier |= 1U << lane_of_thread();
    leave();
  }
  return votes;
}

Outcome run_grid(const Grid& grid) {
  block.grid = grid;
  block.outcome = Outcome::kDone;
  prepare_grid();
  const unsigned long long n_blocks = 1ULL * grid.blocks.x * grid.blocks.y * grid.blocks.z;
  const FaultGuard guard;
  begin_watch(grid.watches, block.shared.size());
  for (unsigned long long i = 0; i < n_blocks && block.outcome == Outcome::kDone; ++i) {
    run_block(grid.is_reversed ? n_blocks - 1 - i : i);
  }
  end_watch();
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
