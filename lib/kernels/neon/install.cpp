#include "kernels/install.h"
#include "kernels/neon/parts.h"

namespace quern::kernels {

void install_neon(KernelTable& table) {
  install_neon_vector(table);
  install_neon_float(table);
  install_neon_groups(table);
  install_neon_rotated(table);
  install_neon_attention(table);
}

}  // namespace quern::kernels
