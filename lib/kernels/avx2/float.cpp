#include "kernels/avx2/ops.h"
#include "kernels/avx2/parts.h"
#include "kernels/generic/linear_float.h"
#include "kernels/generic/pack.h"

namespace quern::kernels {

void install_avx2_float(KernelTable& table) {
  Pack<Avx2>::install(table);
  FloatLinear<Avx2, Encoding::kF32>::install(table);
  FloatLinear<Avx2, Encoding::kF16>::install(table);
  FloatLinear<Avx2, Encoding::kBF16>::install(table);
}

}  // namespace quern::kernels
