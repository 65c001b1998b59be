#include "kernels/avx512/ops.h"
#include "kernels/avx512/parts.h"
#include "kernels/generic/install_groups.h"

namespace quern::kernels {

void install_avx512_groups(KernelTable& table) { install_group_linear<Avx512>(table); }

}  // namespace quern::kernels
