/// \file
/// The "vector" of one lane with which device code uses the polynomials of
/// lib/kernels/generic/math.h: the operations of the oracle's lane, each rounded once.
#pragma once

#include "backends/cuda/kernels/language.cuh"
#include "kernels/generic/math.h"

namespace quern::backends::cuda {

struct Lane {
  struct Int {
    unsigned v;
    static QUERN_DEVICE_MEMBER Int all(int x) { return {static_cast<unsigned>(x)}; }
    template <int n>
    QUERN_DEVICE_MEMBER Int shift_left() const {
      return {v << n};
    }
    template <int n>
    QUERN_DEVICE_MEMBER Int shift_right() const {
      return {static_cast<unsigned>(static_cast<int>(v) >> n)};
    }
    friend QUERN_DEVICE_MEMBER Int operator+(Int a, Int b) { return {a.v + b.v}; }
    friend QUERN_DEVICE_MEMBER Int operator-(Int a, Int b) { return {a.v - b.v}; }
    friend QUERN_DEVICE_MEMBER Int operator&(Int a, Int b) { return {a.v & b.v}; }
    friend QUERN_DEVICE_MEMBER Int operator|(Int a, Int b) { return {a.v | b.v}; }
  };
  float v;
  static QUERN_DEVICE_MEMBER Lane all(float x) { return {x}; }
  friend QUERN_DEVICE_MEMBER Lane operator+(Lane a, Lane b) { return {a.v + b.v}; }
  friend QUERN_DEVICE_MEMBER Lane operator-(Lane a, Lane b) { return {a.v - b.v}; }
  friend QUERN_DEVICE_MEMBER Lane operator*(Lane a, Lane b) { return {a.v * b.v}; }
  friend QUERN_DEVICE_MEMBER Lane operator/(Lane a, Lane b) { return {a.v / b.v}; }
  friend QUERN_DEVICE_MEMBER Lane fma(Lane a, Lane b, Lane c) { return {__fmaf_rn(a.v, b.v, c.v)}; }
  friend QUERN_DEVICE_MEMBER Lane larger_of(Lane a, Lane b) { return a.v < b.v ? b : a; }
  friend QUERN_DEVICE_MEMBER bool less(Lane a, Lane b) { return a.v < b.v; }
  friend QUERN_DEVICE_MEMBER Lane select(bool m, Lane a, Lane b) { return m ? a : b; }
  friend QUERN_DEVICE_MEMBER Int bits(Lane a) { return {__float_as_uint(a.v)}; }
  friend QUERN_DEVICE_MEMBER Lane from_bits(Int i) { return {__uint_as_float(i.v)}; }
};

/// The element-wise function `kind` of x.
QUERN_DEVICE float activate(kernels::Activation kind, float x) {
  using kernels::Activation;
  const Lane in{x};
  switch (kind) {
    case Activation::kSilu:
      return kernels::activate<Activation::kSilu>(in).v;
    case Activation::kGeluTanh:
      return kernels::activate<Activation::kGeluTanh>(in).v;
    case Activation::kGeluErf:
      return kernels::activate<Activation::kGeluErf>(in).v;
    case Activation::kRelu:
      return kernels::activate<Activation::kRelu>(in).v;
    case Activation::kRelu2:
      return kernels::activate<Activation::kRelu2>(in).v;
    case Activation::kTanh:
      return kernels::activate<Activation::kTanh>(in).v;
    case Activation::kSigmoid:
      break;
  }
  return kernels::activate<Activation::kSigmoid>(in).v;
}

}  // namespace quern::backends::cuda
