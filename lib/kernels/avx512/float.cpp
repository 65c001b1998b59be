#include "kernels/avx512/ops.h"
#include "kernels/avx512/parts.h"
#include "kernels/generic/linear_float.h"
#include "kernels/generic/pack.h"

namespace quern::kernels {

void install_avx512_float(KernelTable& table) {
  Pack<Avx512>::install(table);
  FloatLinear<Avx512, Encoding::kF32>::install(table);
  FloatLinear<Avx512, Encoding::kF16>::install(table);
  FloatLinear<Avx512, Encoding::kBF16>::install(table);
}

}  // namespace quern::kernels
