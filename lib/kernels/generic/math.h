/// \file
/// exp, tanh, GELU and what is made of them: one body for every vector type V, the scalar one
/// included.
///
/// V has: V::all(float), + − × ÷, fma(a, b, c), larger_of(a, b), less(a, b), select(mask, a, b),
/// bits(v), from_bits(i); its integer type has all(int32), + − & |, shift_left<n>, shift_right<n>
/// (arithmetic). Only IEEE operations are used, so all V agree to the bit. Polynomials: Chebyshev
/// fits of our own.
#pragma once

#include <limits>

#include "kernels/generic/inline.h"
#include "kernels/kernel_table.h"

namespace quern::kernels {
namespace {

/// Horner's rule, constant term first.
template <class V>
QUERN_INLINE V horner(V, float c0) {
  return V::all(c0);
}
template <class V, class... Rest>
QUERN_INLINE V horner(V x, float c0, Rest... rest) {
  return fma(horner(x, rest...), x, V::all(c0));
}

/// e^x, at most 2 ulp; exact limits at ±∞; denormal results are rounded once.
/// x = n·ln 2 + r, |r| ≤ ln 2 / 2; 2^n is applied in two factors so that neither overflows.
template <class V>
QUERN_INLINE V exp_of(V x) {
  using Int = typename V::Int;
  const V magic = V::all(12582912.0f);  // 1.5·2²³: adding it rounds to an integer, ties to even.
  const V t = fma(x, V::all(1.44269504f), magic);
  const V n = t - magic;
  V r = fma(n, V::all(-0.693145752f), x);
  r = fma(n, V::all(-1.42860677e-6f), r);
  const V q =
      horner(r, 0.5f, 0.166665733819f, 0.0416665501103f, 0.00836377387441f, 0.0013926926614f);
  const V p = fma(r * r, q, r) + V::all(1.0f);
  const Int i = bits(t) - bits(magic);
  const Int half = i.template shift_right<1>();
  const Int bias = Int::all(127);
  const V low = from_bits((half + bias).template shift_left<23>());
  const V high = from_bits((i - half + bias).template shift_left<23>());
  V y = (p * low) * high;
  y = select(less(V::all(89.0f), x), V::all(std::numeric_limits<float>::infinity()), y);
  return select(less(x, V::all(-104.0f)), V::all(0.0f), y);
}

/// 2^x for x ≤ 127, at most 2 ulp: exactly 1 at 0, 0 below −126, NaN for NaN.
template <class V>
QUERN_INLINE V exp2_of(V x) {
  using Int = typename V::Int;
  const V magic = V::all(12582912.0f);
  const V t = x + magic;
  const V r = x - (t - magic);
  const V q = horner(r, 0.693147202855f, 0.240226479136f, 0.055503324711f, 0.00961843736071f,
                     0.00133988744235f, 0.000153533611439f);
  const V p = fma(q, r, V::all(1.0f));
  const Int i = bits(t) - bits(magic) + Int::all(127);
  return select(less(x, V::all(-126.0f)), V::all(0.0f), p * from_bits(i.template shift_left<23>()));
}

/// 2^x for −126 ≤ x ≤ 0 with a relative error of at most 1.1e-4: exactly 1 at 0.
template <class V>
QUERN_INLINE V exp2_short(V x) {
  const V magic = V::all(12582912.0f);  // Its low nine bits are 0, so that n alone is shifted.
  const V t = x + magic;
  const V r = x - (t - magic);
  const V p = horner(r, 1.0f, 0.693282927602f, 0.24221096006f, 0.055008928583f);
  return from_bits(bits(p) + bits(t).template shift_left<23>());
}

/// 2^x for −126 ≤ x ≤ 0 with a relative error of at most 5.5e-6: exactly 1 at 0, where its slope is
/// exact too, so that a state which is to last does.
template <class V>
QUERN_INLINE V exp2_in_range(V x) {
  const V magic = V::all(12582912.0f);
  const V t = x + magic;
  const V r = x - (t - magic);
  const V p = horner(r, 1.0f, 0.693147182f, 0.24025109f, 0.0557933189f, 0.00952834729f);
  return from_bits(bits(p) + bits(t).template shift_left<23>());
}

/// The same for −∞ ≤ x ≤ 0: 2^−126 below −126, NaN for NaN.
template <class V>
QUERN_INLINE V exp2_decay(V x) {
  return exp2_in_range(larger_of(x, V::all(-126.0f)));
}

/// log2 x of a normal x > 0, error at most 2 ulp of the result or of 1.
/// x = 2^n·m, m in [√½, √2); log2 m = 2/ln 2 · artanh((m − 1)/(m + 1)).
template <class V>
QUERN_INLINE V log2_of(V x) {
  using Int = typename V::Int;
  const V magic = V::all(12582912.0f), one = V::all(1.0f);
  const Int root = Int::all(0x3f3504f3);  // √½
  const Int above = bits(x) - root;
  const V n = from_bits(above.template shift_right<23>() + bits(magic)) - magic;
  const V m = from_bits((above & Int::all(0x7fffff)) + root);
  const V s = (m - one) / (m + one);
  const V series = horner(s * s, 2.88539008178f, 0.961796693926f, 0.577078016356f, 0.412198583111f,
                          0.320598897975f);
  return fma(s, series, n);
}

template <class V>
QUERN_INLINE V abs_of(V x) {
  return from_bits(bits(x) & V::Int::all(0x7fffffff));
}

/// |magnitude| with the sign of `x`.
template <class V>
QUERN_INLINE V with_sign(V magnitude, V x) {
  const auto sign = bits(x) & V::Int::all(std::numeric_limits<std::int32_t>::min());
  return from_bits(bits(magnitude) | sign);
}

/// −|x|.
template <class V>
QUERN_INLINE V minus_abs_of(V x) {
  return from_bits(bits(x) | V::Int::all(std::numeric_limits<std::int32_t>::min()));
}

/// tanh x, at most 4 ulp: −E/(E + 2) of |x|, E = e^(−2|x|) − 1 = s·(2^r − 1) + (s − 1), s = 2^n.
template <class V>
QUERN_INLINE V tanh_of(V x) {
  const V magic = V::all(12582912.0f), one = V::all(1.0f), log2e2 = V::all(2.88539008f);
  const V a = larger_of(minus_abs_of(x), V::all(-10.0f));
  const V t = fma(a, log2e2, magic);
  const V r = fma(a, log2e2, magic - t);
  const V q = r * horner(r, 0.693147202855f, 0.240226479136f, 0.055503324711f, 0.00961843736071f,
                         0.00133988744235f, 0.000153533611439f);
  const V s = from_bits(bits(one) + bits(t).template shift_left<23>());
  const V e = fma(s, q, s - one);
  return with_sign(e / (V::all(-2.0f) - e), x);
}

/// 2^(n + r), |r| ≤ ½, with a relative error of at most 3e-7: t = n + 1.5·2²³, −126 ≤ n ≤ 126.
template <class V>
QUERN_INLINE V exp2_of_parts(V t, V r) {
  const V p = horner(r, 1.0f, 0.693147003651f, 0.240222424269f, 0.0555073358119f, 0.00967151299119f,
                     0.00132647273131f);
  return from_bits(bits(p) + bits(t).template shift_left<23>());
}

/// x·Φ(x), the exact GELU (Hendrycks and Gimpel 2016) = max(x, 0) − |x|·Q(|x|), where log2 Q, Q = 1
/// − Φ, is a polynomial. A relative error of at most 5.6e-7 for x ≥ −1, 6e-6 for x ≥ −6.5; below,
/// the result of −6.5: −2.6e-10.
template <class V>
QUERN_INLINE V gelu_of(V x) {
  const V magic = V::all(12582912.0f);
  const V a = larger_of(minus_abs_of(x), V::all(-6.5f));
  const V log =
      horner(a, -1.0f, 1.15111494f, -0.459131509f, 0.0526934415f, 0.007290815f, 0.000261138863f,
             -0.000161786127f, -4.41525008e-5f, -5.70194106e-6f, -3.90013668e-7f, -1.12932002e-8f);
  const V t = log + magic;
  const V r = log - (t - magic);
  const V q = exp2_of_parts(t, r);
  return fma(a, q, larger_of(x, V::all(0.0f)));
}

/// log(1 + e^x) = max(x, 0) + log1p(e^−|x|) with a relative error of at most 5e-7 for x ≥ −20,
/// 1.4e-6 below; e^−87 where that is more.
template <class V>
QUERN_INLINE V softplus_of(V x) {
  const V magic = V::all(12582912.0f);
  const V a = larger_of(minus_abs_of(x), V::all(-87.0f));
  const V t = fma(a, V::all(1.44269504f), magic);
  const V r = fma(a, V::all(1.44269504f), magic - t);
  const V y = exp2_of_parts(t, r);
  const V log = horner(y, 1.0f, -0.499996483f, 0.3332133f, -0.248572171f, 0.191538483f,
                       -0.137541875f, 0.0792088285f, -0.0300683007f, 0.00536542246f);
  return fma(y, log, larger_of(x, V::all(0.0f)));
}

/// x / (1 + e^(−s)), the shape of SiLU and of the tanh form of GELU, with a relative error of at
/// most 4e-7 for s ≥ −10, 1.4e-6 below; |s| is taken as at most 87.
template <class V>
QUERN_INLINE V gated_by_sigmoid(V x, V s) {
  const V magic = V::all(12582912.0f), least = V::all(-87.0f), log2e = V::all(1.44269504f);
  const V a = larger_of(V::all(0.0f) - larger_of(s, least), least);
  const V t = fma(a, log2e, magic);
  const V r = fma(a, log2e, magic - t);
  return x / (V::all(1.0f) + exp2_of_parts(t, r));
}

/// The element-wise function `kind`.
template <Activation kind, class V>
QUERN_INLINE V activate(V x) {
  const V zero = V::all(0.0f);
  if constexpr (kind == Activation::kSilu) {
    return gated_by_sigmoid(x, x);
  } else if constexpr (kind == Activation::kGeluTanh) {
    // ½x(1 + tanh u) = x·sigmoid(2u), u = √(2/π)·(x + 0.044715x³).
    const V cubic = fma(x * x, V::all(0.0713548163f), V::all(1.59576912f));
    return gated_by_sigmoid(x, x * cubic);
  } else if constexpr (kind == Activation::kGeluErf) {
    return gelu_of(x);
  } else if constexpr (kind == Activation::kRelu) {
    return select(less(x, zero), zero, x);
  } else if constexpr (kind == Activation::kRelu2) {
    const V positive = select(less(x, zero), zero, x);
    return positive * positive;
  } else if constexpr (kind == Activation::kTanh) {
    return tanh_of(x);
  } else {
    static_assert(kind == Activation::kSigmoid);
    return gated_by_sigmoid(V::all(1.0f), x);
  }
}

}  // namespace
}  // namespace quern::kernels
