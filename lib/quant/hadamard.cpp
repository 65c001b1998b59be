// Walsh–Hadamard transform by butterflies (Sylvester order). The order of stages is law: kernels
// rotate activations the same way and must get the same bits.

#include "quant/registry.h"

namespace quern::quant {

void hadamard64(float* x, std::int64_t n) noexcept {
  for (float* block = x; block < x + n; block += 64) {
    for (int stride = 1; stride < 64; stride *= 2) {
      for (int start = 0; start < 64; start += 2 * stride) {
        for (int i = start; i < start + stride; ++i) {
          const float a = block[i], b = block[i + stride];
          block[i] = a + b;
          block[i + stride] = a - b;
        }
      }
    }
    for (int i = 0; i < 64; ++i) block[i] *= 0.125f;
  }
}

}  // namespace quern::quant
