/// \file
/// The files of this folder; the folder exports install_avx2.
#pragma once

#include "kernels/kernel_table.h"

namespace quern::kernels {

void install_avx2_vector(KernelTable& table);
void install_avx2_float(KernelTable& table);
void install_avx2_groups(KernelTable& table);
void install_avx2_rotated(KernelTable& table);
void install_avx2_attention(KernelTable& table);

}  // namespace quern::kernels
