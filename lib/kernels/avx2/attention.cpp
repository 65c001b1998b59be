#include "kernels/generic/attention.h"
#include "kernels/avx2/ops.h"
#include "kernels/avx2/parts.h"

namespace quern::kernels {

void install_avx2_attention(KernelTable& table) { install_attention<Avx2>(table); }

}  // namespace quern::kernels
