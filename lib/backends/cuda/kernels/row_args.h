/// \file
/// Arguments of the kernels that go by elements and rows: shared by the processor's side and the
/// device's. All matrices are row-major float32.
#pragma once

#include <cstdint>

#include "kernels/kernel_table.h"

namespace quern::backends::cuda {

enum class Elementwise : std::int32_t {
  kActivation,  ///< f(a)
  kGlu,         ///< f(a) · b
  kAdd,
  kMul,
  kScale,    ///< number · a
  kClamp,    ///< to ±number
  kSoftcap,  ///< number · tanh(a / number)
};

struct ElementwiseArgs {
  const float* a;
  const float* b;
  float* out;
  std::int64_t n;
  float number;
  Elementwise kind;
  kernels::Activation activation;
};

/// out[t, c] from x[t, c] and a factor by row or by column.
struct ScaleArgs {
  const float* x;
  const float* factor;
  float* out;
  std::int64_t rows, cols;
};

/// Columns [first, first + cols) of rows of `all` columns. With `index`, row t is row index[t].
struct CopyArgs {
  const float* x;
  const std::int32_t* index;
  float* out;
  std::int64_t rows, all, first, cols;
};

/// out = fma(factors[t, at] + offset, x, base).
struct MixArgs {
  const float* x;
  const float* base;
  const float* factors;
  float* out;
  std::int64_t rows, cols, factor_cols, at;
  float offset;
};

enum class Norm : std::int32_t { kRms, kLayer, kCutoff, kMagnitude };

/// A norm of every group of `group` columns; weight and bias of the whole row, or of a group where
/// `shared`.
struct NormArgs {
  const float* x;
  const float* like;  ///< Norm::kMagnitude.
  const float* weight;
  const float* bias;
  float* out;
  std::int64_t rows, cols, group;
  bool weight_shared, bias_shared;
  float number;  ///< eps, deviations or floor.
  Norm kind;
};

struct AnglesArgs {
  const std::int32_t* positions;
  const std::int32_t* lengths;
  const float* inv_freq;       ///< `[n]`
  const float* long_inv_freq;  ///< `[n]`, of rows longer than `long_after` where that is not 0.
  float* out;                  ///< `[rows, 2n]`
  std::int64_t rows, n, long_after;
  float factor;
};

struct SinusoidArgs {
  const std::int32_t* positions;
  const double* divisors;  ///< `[n]`
  float* out;              ///< `[rows, 2n]`
  std::int64_t rows, n;
};

struct RopeArgs {
  const float* x;
  const float* angles;
  float* out;
  std::int64_t rows, cols, head_dim, angle_cols;
  bool interleaved;
};

struct PositionColumnArgs {
  const float* x;
  const float* slopes;  ///< Per head, or nullptr.
  const std::int32_t* positions;
  float* out;
  std::int64_t rows, heads, head_dim;
};

struct JoinHeadsArgs {
  const float* a;
  const float* b;
  float* out;
  std::int64_t rows, heads, a_cols, a_dim, b_dim;
};

struct PoolArgs {
  const float* x;
  const std::int32_t* starts;  ///< `[sequences + 1]`
  float* out;
  std::int64_t sequences, cols;
  bool mean, last;  ///< Neither: the first row.
};

}  // namespace quern::backends::cuda
