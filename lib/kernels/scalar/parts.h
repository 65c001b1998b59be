/// \file
/// What the files of the oracle share.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {

QUERN_COLD void install_scalar_vector(KernelTable& table);
QUERN_COLD void install_scalar_pack(KernelTable& table);
QUERN_COLD void install_scalar_linear(KernelTable& table);
QUERN_COLD void install_scalar_kv(KernelTable& table);
QUERN_COLD void install_scalar_attention(KernelTable& table);

/// The fixed tree over 16 virtual lanes; the lanes are overwritten. The maximum prefers the earlier
/// of equal lanes and passes over NaN.
float tree_sum(float* lanes);
float tree_max(float* lanes);

float exp_scalar(float x);
float exp2_scalar(float x);
float exp2_short_scalar(float x);
float log2_scalar(float x);
float tanh_scalar(float x);

/// What turns numbers into whole codes: the factor to multiply with and the scale to keep.
struct CodeScale {
  float factor;  ///< 0: all codes are 0.
  float scale;   ///< NaN where the input is not finite.
};
/// `limit` is the largest code, 127 or 7. Where limit/amax overflows the numbers count as 0.
CodeScale code_scale(const float* x, std::int64_t n, float limit);
/// rint(x·factor), ties to even; 0 for a factor of 0.
int code_of(float x, float factor);

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

}  // namespace quern::kernels
