/// \file
/// Chooses the kernel table once, at run time.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel_table.h"
#include "quern/result.h"

namespace quern::kernels {

/// One instruction set: better ones later. `available` asks the machine; `install` overwrites
/// slots.
struct Isa {
  std::string_view name;  ///< "scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "avx512amx", "neon".
  bool (*available)() noexcept;
  void (*install)(KernelTable&);
};

/// \return the instruction sets that this build holds, worst first; the first is "scalar".
std::span<const Isa> built_isas() noexcept;

/// \return the table of one instruction set by name; kUnsupported where the machine or the build
/// lacks it (naming what is available).
Result<const KernelTable*> kernels_for(std::string_view isa);

/// \return the best table, or the one that the environment variable QUERN_ISA forces. Chosen once;
/// the reasons (why each better one was rejected) are in `dispatch_log`.
Result<const KernelTable*> default_kernels();
std::vector<std::string> dispatch_log();

}  // namespace quern::kernels
