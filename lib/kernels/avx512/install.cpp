#include "kernels/install.h"
#include "kernels/avx512/parts.h"

namespace quern::kernels {

void install_avx512(KernelTable& table) {
  install_avx512_vector(table);
  install_avx512_float(table);
  install_avx512_groups(table);
  install_avx512_rotated(table);
  install_avx512_attention(table);
}

}  // namespace quern::kernels
