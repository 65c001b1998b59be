/// \file
/// The files of this folder; the folder exports install_avx2.
#pragma once

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {

QUERN_COLD void install_avx2_vector(KernelTable& table);
QUERN_COLD void install_avx2_float(KernelTable& table);
QUERN_COLD void install_avx2_groups(KernelTable& table);
QUERN_COLD void install_avx2_rotated(KernelTable& table);
QUERN_COLD void install_avx2_attention(KernelTable& table);

}  // namespace quern::kernels
