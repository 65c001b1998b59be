#include "kernels/install.h"
#include "kernels/avx512vnni/parts.h"

namespace quern::kernels {

void install_avx512vnni(KernelTable& table) {
  install_avx512vnni_attention(table);
  install_avx512vnni_groups(table);
  install_avx512vnni_rotated(table);
}

}  // namespace quern::kernels
