/// \file
/// The files of this folder; the folder exports install_neon.
#pragma once

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {

QUERN_COLD void install_neon_vector(KernelTable& table);
QUERN_COLD void install_neon_float(KernelTable& table);
QUERN_COLD void install_neon_groups(KernelTable& table);
QUERN_COLD void install_neon_rotated(KernelTable& table);
QUERN_COLD void install_neon_attention(KernelTable& table);

}  // namespace quern::kernels
