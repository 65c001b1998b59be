#include "kernels/generic/attention.h"
#include "kernels/avx512vnni/ops.h"
#include "kernels/avx512vnni/parts.h"

namespace quern::kernels {

void install_avx512vnni_attention(KernelTable& table) { install_attention<Avx512Vnni>(table); }

}  // namespace quern::kernels
