#include "kernels/install.h"

#include "kernels/scalar/parts.h"

namespace quern::kernels {

void install_scalar(KernelTable& table) {
  install_scalar_vector(table);
  install_scalar_pack(table);
  install_scalar_linear(table);
  install_scalar_kv(table);
  install_scalar_attention(table);
}

}  // namespace quern::kernels
