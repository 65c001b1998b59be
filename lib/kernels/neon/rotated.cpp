#include "kernels/neon/ops.h"
#include "kernels/neon/parts.h"
#include "kernels/generic/linear_rotated.h"

namespace quern::kernels {

void install_neon_rotated(KernelTable& table) { RotatedLinear<Neon>::install(table); }

}  // namespace quern::kernels
