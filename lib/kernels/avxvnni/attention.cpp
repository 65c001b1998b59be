#include "kernels/generic/attention.h"
#include "kernels/avxvnni/ops.h"
#include "kernels/avxvnni/parts.h"

namespace quern::kernels {

void install_avxvnni_attention(KernelTable& table) { install_attention<AvxVnni>(table); }

}  // namespace quern::kernels
