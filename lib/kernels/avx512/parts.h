/// \file
/// The files of this folder; the folder exports install_avx512.
#pragma once

#include "kernels/kernel_table.h"

namespace quern::kernels {

void install_avx512_vector(KernelTable& table);
void install_avx512_float(KernelTable& table);
void install_avx512_groups(KernelTable& table);
void install_avx512_rotated(KernelTable& table);
void install_avx512_attention(KernelTable& table);

}  // namespace quern::kernels
