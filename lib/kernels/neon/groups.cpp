#include "kernels/neon/ops.h"
#include "kernels/neon/parts.h"
#include "kernels/generic/install_groups.h"

namespace quern::kernels {

void install_neon_groups(KernelTable& table) { install_group_linear<Neon>(table); }

}  // namespace quern::kernels
