#include "kernels/generic/attention.h"
#include "kernels/avx512/ops.h"
#include "kernels/avx512/parts.h"

namespace quern::kernels {

void install_avx512_attention(KernelTable& table) { install_attention<Avx512>(table); }

}  // namespace quern::kernels
