/// \file
/// The files of this folder; the folder exports install_avxvnni.
#pragma once

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {

QUERN_COLD void install_avxvnni_attention(KernelTable& table);
QUERN_COLD void install_avxvnni_groups(KernelTable& table);
QUERN_COLD void install_avxvnni_rotated(KernelTable& table);

}  // namespace quern::kernels
