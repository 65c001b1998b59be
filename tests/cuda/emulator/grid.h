/// \file
/// Runs a kernel's grid, block after block (block.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/cuda/emulator/block.h"
#include "tests/cuda/emulator/vector_types.h"

namespace quern::cuda_emulator {

struct Grid {
  const KernelEntry* kernel = nullptr;
  dim3 blocks;
  dim3 threads;
  std::size_t shared_bytes = 0;
  const void* args = nullptr;
  bool is_reversed = false;  ///< The last thread of a block starts first, and likewise blocks.
  bool watches = false;      ///< Races end the launch.
};

enum class Outcome { kDone, kLaunchFailed, kIllegalAddress, kMisalignedAddress };

/// Not to be called by two threads at a time.
Outcome run_grid(const Grid& grid);

/// Kernels by the objects that this library is made of, a list.
const KernelEntry* first_kernel();

}  // namespace quern::cuda_emulator
