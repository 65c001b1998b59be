#include "kernels/neon/ops.h"
#include "kernels/neon/parts.h"
#include "kernels/generic/vector_ops.h"

namespace quern::kernels {

void install_neon_vector(KernelTable& table) { VectorOps<Neon>::install(table); }

}  // namespace quern::kernels
