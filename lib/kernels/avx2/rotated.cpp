#include "kernels/avx2/ops.h"
#include "kernels/avx2/parts.h"
#include "kernels/generic/linear_rotated.h"

namespace quern::kernels {

void install_avx2_rotated(KernelTable& table) { RotatedLinear<Avx2>::install(table); }

}  // namespace quern::kernels
