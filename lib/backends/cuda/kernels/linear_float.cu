// Matrix products of float weights: one thread adds in order of k.
#include "backends/cuda/kernels/linear.cuh"

namespace quern::backends::cuda {
namespace {

/// A block has eight panels, a thread one of their rows and `tokens` rows of activations.
template <Encoding E, int tokens>
QUERN_DEVICE void multiply(const LinearArgs& args) {
  const Segment segment(args);
  const int panel = static_cast<int>(8 * blockIdx.y + threadIdx.x / 16);
  const int row = static_cast<int>(threadIdx.x) % 16;
  const int first = static_cast<int>(blockIdx.x) * tokens;
  if (panel >= segment.panels() || first >= segment.rows) return;
  const auto* weights =
      reinterpret_cast<const unsigned char*>(segment.w.data) + panel * segment.w.panel_bytes;
  const long long k_end = segment.w.k;
  const float* x = reinterpret_cast<const float*>(args.x) +
                   static_cast<long long>(segment.first_row + first) * k_end;
  float acc[tokens] = {};
  for (long long k = 0; k < k_end; ++k) {
    const float w = float_weight<E>(weights, 16 * k + row);
    for (int t = 0; t < tokens; ++t) {
      if (first + t < segment.rows) acc[t] = __fmaf_rn(w, x[t * k_end + k], acc[t]);
    }
  }
  for (int t = 0; t < tokens; ++t) segment.finish(args, first + t, 16 * panel + row, acc[t]);
}

}  // namespace

#define QUERN_FLOAT(name, encoding)                                \
  QUERN_KERNEL_BOUNDS(quern_linear_few_##name, LinearArgs, 128) {  \
    multiply<Encoding::encoding, 1>(args);                         \
  }                                                                \
  QUERN_KERNEL_BOUNDS(quern_linear_many_##name, LinearArgs, 128) { \
    multiply<Encoding::encoding, 8>(args);                         \
  }
QUERN_FLOAT(f32, kF32)
QUERN_FLOAT(f16, kF16)
QUERN_FLOAT(bf16, kBF16)

}  // namespace quern::backends::cuda
