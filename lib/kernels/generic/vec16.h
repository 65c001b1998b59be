/// \file
/// Sixteen virtual lanes over xsimd batches: one zmm, two ymm or four NEON registers. Lanes do not
/// know how many registers there are, so a body over Vec16 gives the same bits everywhere. Where a
/// body needs many registers at once it takes Vec16::Register, the lanes of one.
///
/// An ISA folder specialises Exact<Arch> first: xsimd 8.1 rounds a float32 fma twice on AVX-512 and
/// NEON, and divides approximately on NEON.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <xsimd/xsimd.hpp>

#include "kernels/generic/unroll.h"

namespace quern::kernels {
namespace {

/// static fma(a, b, c) and div(a, b) of registers, rounded once, and larger(a, b): b where a < b,
/// else a.
template <class Arch>
struct Exact;

/// Lanes of whole registers. Vec16 is what bodies take.
template <class Arch, int lanes>
struct Lanes {
  using Batch = xsimd::batch<float, Arch>;
  using Ints = xsimd::batch<std::int32_t, Arch>;
  using Bools = xsimd::batch_bool<float, Arch>;
  static constexpr int kWidth = static_cast<int>(Batch::size);
  static constexpr int kLanes = lanes;
  static constexpr int kCount = lanes / kWidth;
  using Register = Lanes<Arch, kWidth>;

  struct Mask {
    Bools v[kCount];
  };

  struct Int {
    Ints v[kCount];

    static QUERN_INLINE Int all(std::int32_t x) {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = Ints(x); });
      return r;
    }
    template <int n>
    QUERN_INLINE Int shift_left() const {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = v[i] << n; });
      return r;
    }
    template <int n>
    QUERN_INLINE Int shift_right() const {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = v[i] >> n; });
      return r;
    }
    friend QUERN_INLINE Int operator+(const Int& a, const Int& b) {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] + b.v[i]; });
      return r;
    }
    friend QUERN_INLINE Int operator-(const Int& a, const Int& b) {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] - b.v[i]; });
      return r;
    }
    friend QUERN_INLINE Int operator&(const Int& a, const Int& b) {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] & b.v[i]; });
      return r;
    }
    friend QUERN_INLINE Int operator|(const Int& a, const Int& b) {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] | b.v[i]; });
      return r;
    }
    friend QUERN_INLINE Int operator^(const Int& a, const Int& b) {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] ^ b.v[i]; });
      return r;
    }
    friend QUERN_INLINE Int larger(const Int& a, const Int& b) {
      Int r;
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = xsimd::max(a.v[i], b.v[i]); });
      return r;
    }
    QUERN_INLINE void store(std::int32_t* to) const {
      each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { v[i].store_unaligned(to + i * kWidth); });
    }
    static QUERN_INLINE Int load(const std::int32_t* from) {
      Int r;
      each<kCount>([&](auto i)
                       QUERN_INLINE_LAMBDA { r.v[i] = Ints::load_unaligned(from + i * kWidth); });
      return r;
    }
  };

  Batch v[kCount];

  static QUERN_INLINE Lanes all(float x) {
    Lanes r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = Batch(x); });
    return r;
  }
  static QUERN_INLINE Lanes load(const float* from) {
    Lanes r;
    each<kCount>([&](auto i)
                     QUERN_INLINE_LAMBDA { r.v[i] = Batch::load_unaligned(from + i * kWidth); });
    return r;
  }
  QUERN_INLINE void store(float* to) const {
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { v[i].store_unaligned(to + i * kWidth); });
  }
  /// The first n lanes (n < kLanes); the others are `rest`.
  static QUERN_INLINE Lanes load_first(const float* from, std::int64_t n, float rest = 0.0f) {
    float values[lanes];
    for (int i = 0; i < lanes; ++i) values[i] = i < n ? from[i] : rest;
    return load(values);
  }
  QUERN_INLINE void store_first(float* to, std::int64_t n) const {
    float values[lanes];
    store(values);
    for (int i = 0; i < n; ++i) to[i] = values[i];
  }

  friend QUERN_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
    Lanes r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] + b.v[i]; });
    return r;
  }
  friend QUERN_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
    Lanes r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] - b.v[i]; });
    return r;
  }
  friend QUERN_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
    Lanes r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] * b.v[i]; });
    return r;
  }
  friend QUERN_INLINE Lanes operator/(const Lanes& a, const Lanes& b) {
    Lanes r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = Exact<Arch>::div(a.v[i], b.v[i]); });
    return r;
  }
  friend QUERN_INLINE Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) {
    Lanes r;
    each<kCount>([&](auto i)
                     QUERN_INLINE_LAMBDA { r.v[i] = Exact<Arch>::fma(a.v[i], b.v[i], c.v[i]); });
    return r;
  }
  /// The larger of two; the first where they are equal or one is NaN.
  friend QUERN_INLINE Lanes larger_of(const Lanes& a, const Lanes& b) {
    Lanes r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = Exact<Arch>::larger(a.v[i], b.v[i]); });
    return r;
  }
  friend QUERN_INLINE Mask less(const Lanes& a, const Lanes& b) {
    Mask r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = a.v[i] < b.v[i]; });
    return r;
  }
  /// Whether a < b in every lane.
  friend QUERN_INLINE bool all_less(const Lanes& a, const Lanes& b) {
    bool all = true;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { all &= xsimd::all(a.v[i] < b.v[i]); });
    return all;
  }
  friend QUERN_INLINE Lanes select(const Mask& m, const Lanes& a, const Lanes& b) {
    Lanes r;
    each<kCount>([&](auto i)
                     QUERN_INLINE_LAMBDA { r.v[i] = xsimd::select(m.v[i], a.v[i], b.v[i]); });
    return r;
  }
  friend QUERN_INLINE Int bits(const Lanes& a) {
    Int r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = xsimd::bitwise_cast<Ints>(a.v[i]); });
    return r;
  }
  friend QUERN_INLINE Lanes from_bits(const Int& a) {
    Lanes r;
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = xsimd::bitwise_cast<Batch>(a.v[i]); });
    return r;
  }

  /// The fixed tree of kernel_table.h.
  QUERN_INLINE float tree_sum() const {
    float l[lanes];
    store(l);
    for (int w = lanes / 2; w >= 1; w /= 2) {
      for (int i = 0; i < w; ++i) l[i] += l[i + w];
    }
    return l[0];
  }
  QUERN_INLINE float tree_max() const {
    float l[lanes];
    store(l);
    for (int w = lanes / 2; w >= 1; w /= 2) {
      for (int i = 0; i < w; ++i) l[i] = l[i] < l[i + w] ? l[i + w] : l[i];
    }
    return l[0];
  }
};

template <class Arch>
using Vec16 = Lanes<Arch, 16>;

/// 0, 1, …, 15.
template <class V>
QUERN_INLINE V lane_numbers() {
  const float numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return V::load(numbers);
}

}  // namespace
}  // namespace quern::kernels
