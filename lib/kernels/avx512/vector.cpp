#include "kernels/avx512/ops.h"
#include "kernels/avx512/parts.h"
#include "kernels/generic/vector_ops.h"

namespace quern::kernels {

void install_avx512_vector(KernelTable& table) { VectorOps<Avx512>::install(table); }

}  // namespace quern::kernels
