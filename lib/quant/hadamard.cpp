#include "quant/panel.h"

namespace quern::quant {
namespace {

/// The butterflies of neighbours: sums and differences of what stands at even and odd places, in
/// `from[2n]`. Apart from each other, because compilers vectorize that.
template <int N>
void split(const float* from, float* sums, float* differences) {
  float even[N], odd[N];
  for (int i = 0; i < N; ++i) {
    even[i] = from[2 * i];
    odd[i] = from[2 * i + 1];
  }
  for (int i = 0; i < N; ++i) {
    sums[i] = even[i] + odd[i];
    differences[i] = even[i] - odd[i];
  }
}

/// Butterflies between places `Stride` apart.
template <int Stride>
void butterflies(float* block) {
  for (int start = 0; start < 64; start += 2 * Stride) {
    float low[Stride], high[Stride];
    for (int i = 0; i < Stride; ++i) {
      low[i] = block[start + i];
      high[i] = block[start + Stride + i];
    }
    for (int i = 0; i < Stride; ++i) block[start + i] = low[i] + high[i];
    for (int i = 0; i < Stride; ++i) block[start + Stride + i] = low[i] - high[i];
  }
}

/// Those of strides 1 and 2.
void first_butterflies(float* block) {
  float sums[32], differences[32];  // Of stride 1.
  split<32>(block, sums, differences);
  float lane[4][16];  // The elements 4i, 4i + 1, …
  split<16>(sums, lane[0], lane[2]);
  split<16>(differences, lane[1], lane[3]);
  for (int i = 0; i < 16; ++i) {
    for (int l = 0; l < 4; ++l) block[4 * i + l] = lane[l][i];
  }
}

/// A block of fewer than 64.
void rotate_small(float* block, int n, float factor) {
  for (int stride = 1; stride < n; stride *= 2) {
    for (int i = 0; i < n; ++i) {
      if ((i & stride) != 0) continue;
      const float a = block[i], b = block[i + stride];
      block[i] = a + b;
      block[i + stride] = a - b;
    }
  }
  for (int i = 0; i < n; ++i) block[i] *= factor;
}

}  // namespace

void hadamard64(float* x, std::int64_t n) noexcept {
  for (float* block = x; block < x + n; block += 64) {
    first_butterflies(block);
    butterflies<4>(block);
    butterflies<8>(block);
    butterflies<16>(block);
    butterflies<32>(block);
    for (int i = 0; i < 64; ++i) block[i] *= 0.125f;
  }
}

void hadamard_vector(float* x, std::int64_t n) noexcept {
  const std::int64_t whole = n / 64 * 64, rest = n - whole;
  hadamard64(x, whole);
  x += whole;
  if (rest >= 32) rotate_small(x, 32, 0.17677670f);
  if (rest % 32 >= 16) rotate_small(x + rest / 32 * 32, 16, 0.25f);
}

}  // namespace quern::quant
