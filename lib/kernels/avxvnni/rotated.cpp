#include "kernels/avxvnni/ops.h"
#include "kernels/avxvnni/parts.h"
#include "kernels/generic/linear_rotated.h"

namespace quern::kernels {

void install_avxvnni_rotated(KernelTable& table) { RotatedLinear<AvxVnni>::install(table); }

}  // namespace quern::kernels
