#include "kernels/avx512/ops.h"
#include "kernels/avx512/parts.h"
#include "kernels/generic/linear_rotated.h"

namespace quern::kernels {

void install_avx512_rotated(KernelTable& table) { RotatedLinear<Avx512>::install(table); }

}  // namespace quern::kernels
