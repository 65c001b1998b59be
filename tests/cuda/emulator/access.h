/// \file
/// Watches what kernels read and write (access.cpp): the .cu files are compiled as for a race
/// detector, whose functions this library defines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quern::cuda_emulator {

/// Where in a launch the running thread stands; block.cpp keeps it true.
struct Standing {
  std::uint32_t block = 0;    ///< In the grid.
  std::uint32_t thread = 0;   ///< In the block.
  std::uint32_t barrier = 0;  ///< Barriers of the block so far.
  std::uint32_t meeting = 0;  ///< Meetings of the whole warp so far (__syncwarp).
  const std::byte* stack = nullptr;
};
extern Standing standing;

/// Begins a launch: what was done before it is done.
/// \param watches whether to look for races. \param dynamic_bytes of shared memory.
void begin_watch(bool watches, std::size_t dynamic_bytes);
/// Ends it: nothing that runs outside of kernels is looked at.
void end_watch();

/// An operation that no other thread's comes in between.
void note_atomic(const void* address, std::size_t bytes);

}  // namespace quern::cuda_emulator
