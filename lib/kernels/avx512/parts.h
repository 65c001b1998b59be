/// \file
/// The files of this folder; the folder exports install_avx512.
#pragma once

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {

QUERN_COLD void install_avx512_vector(KernelTable& table);
QUERN_COLD void install_avx512_float(KernelTable& table);
QUERN_COLD void install_avx512_groups(KernelTable& table);
QUERN_COLD void install_avx512_rotated(KernelTable& table);
QUERN_COLD void install_avx512_attention(KernelTable& table);

}  // namespace quern::kernels
