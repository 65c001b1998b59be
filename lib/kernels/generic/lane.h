/// \file
/// The scalar "vector" of one lane, with which the oracle uses the polynomials of math.h.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/generic/inline.h"

namespace quern::kernels {
namespace {

struct Lane {
  struct Int {
    std::uint32_t v;
    static Int all(std::int32_t x) { return {static_cast<std::uint32_t>(x)}; }
    template <int n>
    Int shift_left() const {
      return {v << n};
    }
    template <int n>
    Int shift_right() const {
      return {static_cast<std::uint32_t>(static_cast<std::int32_t>(v) >> n)};
    }
    friend Int operator+(Int a, Int b) { return {a.v + b.v}; }
    friend Int operator-(Int a, Int b) { return {a.v - b.v}; }
    friend Int operator&(Int a, Int b) { return {a.v & b.v}; }
    friend Int operator|(Int a, Int b) { return {a.v | b.v}; }
  };
  float v;
  static Lane all(float x) { return {x}; }
  friend Lane operator+(Lane a, Lane b) { return {a.v + b.v}; }
  friend Lane operator-(Lane a, Lane b) { return {a.v - b.v}; }
  friend Lane operator*(Lane a, Lane b) { return {a.v * b.v}; }
  friend Lane operator/(Lane a, Lane b) { return {a.v / b.v}; }
  friend Lane fma(Lane a, Lane b, Lane c) { return {std::fma(a.v, b.v, c.v)}; }
  friend Lane larger_of(Lane a, Lane b) { return a.v < b.v ? b : a; }
  friend bool less(Lane a, Lane b) { return a.v < b.v; }
  friend Lane select(bool m, Lane a, Lane b) { return m ? a : b; }
  friend Int bits(Lane a) { return {std::bit_cast<std::uint32_t>(a.v)}; }
  friend Lane from_bits(Int i) { return {std::bit_cast<float>(i.v)}; }
};

}  // namespace
}  // namespace quern::kernels
