#include "kernels/neon/ops.h"
#include "kernels/neon/parts.h"
#include "kernels/generic/linear_float.h"
#include "kernels/generic/pack.h"

namespace quern::kernels {

void install_neon_float(KernelTable& table) {
  Pack<Neon>::install(table);
  FloatLinear<Neon, Encoding::kF32>::install(table);
  FloatLinear<Neon, Encoding::kF16>::install(table);
  FloatLinear<Neon, Encoding::kBF16>::install(table);
}

}  // namespace quern::kernels
