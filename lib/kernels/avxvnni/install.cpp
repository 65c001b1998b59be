#include "kernels/install.h"
#include "kernels/avxvnni/parts.h"

namespace quern::kernels {

void install_avxvnni(KernelTable& table) {
  install_avxvnni_attention(table);
  install_avxvnni_groups(table);
  install_avxvnni_rotated(table);
}

}  // namespace quern::kernels
