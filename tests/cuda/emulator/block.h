/// \file
/// What the words of device_language.h need from the running block: its threads are fibers, and a
/// collective operation lets the others run until all have come (block.cpp).
#pragma once

#include <cstddef>

namespace quern::cuda_emulator {

/// What one lane gives to the others in a warp-wide operation.
struct alignas(16) Payload {
  unsigned words[8];
};

/// The warp-wide operations. Lanes that meet in different ones are an error.
enum class Collective { kSync, kShuffle, kVote, kMatrix };

/// Waits for every lane of `mask` that has not ended; the others see the first `n_words` of `mine`.
/// \return 32 payloads by lane, valid until this lane's next collective operation; those of lanes
///         that had ended are all ones.
const Payload* exchange(unsigned mask, Collective kind, const unsigned* mine, unsigned n_words);

/// The lanes of `mask` that have not ended.
unsigned living_lanes(unsigned mask);

/// Ends the launch with CUDA_ERROR_LAUNCH_FAILED; `why` goes to stderr.
[[noreturn]] void fail_launch(const char* why);

/// Ends the launch with CUDA_ERROR_MISALIGNED_ADDRESS.
[[noreturn]] void fail_misaligned();

/// Waits for every thread of the block that has not ended.
/// \return how many of those that came brought `vote`.
unsigned block_barrier(bool vote);

/// The lane of the running thread in its warp, 0 … 31.
unsigned lane_of_thread();

/// A kernel under its name, entered by a static object per kernel.
struct KernelEntry {
  KernelEntry(const char* name_, const char* file_, std::size_t args_bytes_, unsigned max_threads_,
              void (*run_)(const void*));
  const char* name;
  const char* file;
  std::size_t args_bytes;
  unsigned max_threads;
  void (*run)(const void*);
  const KernelEntry* next;
};

/// The block's dynamic shared memory, filled with 0xff when the block starts.
extern unsigned char* dynamic_shared;

}  // namespace quern::cuda_emulator
