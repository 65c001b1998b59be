#include "kernels/avx2/ops.h"
#include "kernels/avx2/parts.h"
#include "kernels/generic/vector_ops.h"

namespace quern::kernels {

void install_avx2_vector(KernelTable& table) { VectorOps<Avx2>::install(table); }

}  // namespace quern::kernels
