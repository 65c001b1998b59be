/// \file
/// The files of this folder; the folder exports install_neon.
#pragma once

#include "kernels/kernel_table.h"

namespace quern::kernels {

void install_neon_vector(KernelTable& table);
void install_neon_float(KernelTable& table);
void install_neon_groups(KernelTable& table);
void install_neon_rotated(KernelTable& table);
void install_neon_attention(KernelTable& table);

}  // namespace quern::kernels
