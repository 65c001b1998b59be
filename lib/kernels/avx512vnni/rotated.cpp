#include "kernels/avx512vnni/ops.h"
#include "kernels/avx512vnni/parts.h"
#include "kernels/generic/linear_rotated.h"

namespace quern::kernels {

void install_avx512vnni_rotated(KernelTable& table) { RotatedLinear<Avx512Vnni>::install(table); }

}  // namespace quern::kernels
