#include "kernels/generic/attention.h"
#include "kernels/neon/ops.h"
#include "kernels/neon/parts.h"

namespace quern::kernels {

void install_neon_attention(KernelTable& table) { install_attention<Neon>(table); }

}  // namespace quern::kernels
