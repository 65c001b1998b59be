/// \file
/// The files of this folder; the folder exports install_avx512vnni.
#pragma once

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {

QUERN_COLD void install_avx512vnni_attention(KernelTable& table);
QUERN_COLD void install_avx512vnni_groups(KernelTable& table);
QUERN_COLD void install_avx512vnni_rotated(KernelTable& table);

}  // namespace quern::kernels
