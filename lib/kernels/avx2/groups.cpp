#include "kernels/avx2/ops.h"
#include "kernels/avx2/parts.h"
#include "kernels/generic/install_groups.h"

namespace quern::kernels {

void install_avx2_groups(KernelTable& table) { install_group_linear<Avx2>(table); }

}  // namespace quern::kernels
