#include "kernels/avxvnni/ops.h"
#include "kernels/avxvnni/parts.h"
#include "kernels/generic/install_groups.h"

namespace quern::kernels {

void install_avxvnni_groups(KernelTable& table) { install_group_linear<AvxVnni>(table); }

}  // namespace quern::kernels
