#include "kernels/install.h"
#include "kernels/avx2/parts.h"

namespace quern::kernels {

void install_avx2(KernelTable& table) {
  install_avx2_vector(table);
  install_avx2_float(table);
  install_avx2_groups(table);
  install_avx2_rotated(table);
  install_avx2_attention(table);
}

}  // namespace quern::kernels
