#include "kernels/avx512vnni/ops.h"
#include "kernels/avx512vnni/parts.h"
#include "kernels/generic/install_groups.h"

namespace quern::kernels {

void install_avx512vnni_groups(KernelTable& table) { install_group_linear<Avx512Vnni>(table); }

}  // namespace quern::kernels
