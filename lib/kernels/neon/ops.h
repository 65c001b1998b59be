/// \file
/// What only NEON (ARMv8.2 with the dot product) can say: a register holds 4 rows, a quarter of a
/// panel.
#pragma once

#include <arm_neon.h>

#include "kernels/generic/group_dot.h"
#include "kernels/generic/vec16.h"

namespace quern::kernels {
namespace {

template <>
struct Exact<xsimd::neon64> {
  static QUERN_INLINE float32x4_t fma(float32x4_t a, float32x4_t b, float32x4_t c) {
    return vfmaq_f32(c, a, b);
  }
  static QUERN_INLINE float32x4_t div(float32x4_t a, float32x4_t b) { return vdivq_f32(a, b); }
  static QUERN_INLINE float32x4_t larger(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltq_f32(a, b), b, a);
  }
};

struct Neon {
  using V = Vec16<xsimd::neon64>;
  using F = float32x4_t;
  using I = int32x4_t;
  using C = uint8x16_t;
  static constexpr int kRows = 4, kParts = 4, kFullParts = 1, kTile = 8, kLanes = 4;
  static constexpr int kGroupParts = kParts;
  /// Vectors of queries that attention's integer tiles carry at once: what the registers hold.
  static constexpr int kStrips = 2;
  /// Whether products of codes + 128 begin with −128·Σ of the others.
  static constexpr bool kStartsWide = false;
  static constexpr bool kSumsPairs = false;

  static QUERN_INLINE const std::uint8_t* bytes(const std::byte* p) {
    return reinterpret_cast<const std::uint8_t*>(p);
  }

  /// One register for a sum of a loop, whose copies GCC 12 otherwise moves and spills.
  static QUERN_INLINE void keep(I& sum) { __asm__("" : "+w"(sum)); }

  // Float32.
  static QUERN_INLINE F zero() { return vdupq_n_f32(0.0f); }
  static QUERN_INLINE F load(const float* p) { return vld1q_f32(p); }
  static QUERN_INLINE void store(float* p, F v) { vst1q_f32(p, v); }
  static QUERN_INLINE F broadcast(const std::byte* p) { return vdupq_n_f32(peek<float>(p)); }
  static QUERN_INLINE F add(F a, F b) { return vaddq_f32(a, b); }
  static QUERN_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
  static QUERN_INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  /// b where a < b, else a.
  static QUERN_INLINE F larger(F a, F b) { return vbslq_f32(vcltq_f32(a, b), b, a); }
  static QUERN_INLINE F negative(F a) { return vnegq_f32(a); }
  static QUERN_INLINE float square_root(float x) {
    return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0);
  }
  static QUERN_INLINE F to_float(I v) { return vcvtq_f32_s32(v); }

  // 4 numbers side by side.
  static QUERN_INLINE F halves(const std::byte* p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(bytes(p))));
  }
  static QUERN_INLINE F brain_halves(const std::byte* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(bytes(p))), 16));
  }
  static QUERN_INLINE uint32x4_t byte_ints(const std::byte* p) {
    std::uint32_t four;
    std::memcpy(&four, p, sizeof four);
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
  }
  static QUERN_INLINE F unsigned_bytes(const std::byte* p) { return vcvtq_f32_u32(byte_ints(p)); }
  static QUERN_INLINE F signed_bytes(const std::byte* p) {
    const I v = vreinterpretq_s32_u32(byte_ints(p));
    return vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(v, 24), 24));
  }
  template <int high>
  static QUERN_INLINE I nibble_ints(const std::byte* p) {
    const uint32x4_t v = byte_ints(p);
    if constexpr (high == 1) return vreinterpretq_s32_u32(vshrq_n_u32(v, 4));
    if constexpr (high == 0) return vreinterpretq_s32_u32(vandq_u32(v, vdupq_n_u32(15)));
  }
  static QUERN_INLINE F low_nibbles_of_bytes(const std::byte* p) {
    return to_float(nibble_ints<0>(p));
  }
  static QUERN_INLINE F high_nibbles_of_bytes(const std::byte* p) {
    return to_float(nibble_ints<1>(p));
  }
  /// 2^(e − 128) of 4 bytes e; NaN for 255, denormal for 0 and 1.
  static QUERN_INLINE F powers(const std::byte* p) {
    const uint32x4_t e = byte_ints(p);
    const uint32x4_t normal = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
    const uint32x4_t denormal = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(e));
    uint32x4_t r = vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), denormal, normal);
    r = vbslq_u32(vceqq_u32(e, vdupq_n_u32(255)), vdupq_n_u32(0x7fc00000), r);
    return vreinterpretq_f32_u32(r);
  }

  // Codes.
  static QUERN_INLINE C load_codes(const std::byte* p) { return vld1q_u8(bytes(p)); }
  static QUERN_INLINE void store_codes(std::byte* p, C v) {
    vst1q_u8(reinterpret_cast<std::uint8_t*>(p), v);
  }
  static QUERN_INLINE C low_nibbles(C v) { return vandq_u8(v, vdupq_n_u8(15)); }
  static QUERN_INLINE C high_nibbles(C v) { return vshrq_n_u8(v, 4); }
  static QUERN_INLINE C either(C a, C b) { return vorrq_u8(a, b); }
  template <int value>
  static QUERN_INLINE C plus(C v) {
    return vaddq_u8(v, vdupq_n_u8(static_cast<std::uint8_t>(value)));
  }
  /// Each byte of the mask is spread over eight bytes, whose own bit then decides.
  template <int value>
  static QUERN_INLINE C add_bits(C v, const std::byte* mask) {
    const C spread = vcombine_u8(vdup_n_u8(std::to_integer<std::uint8_t>(mask[0])),
                                 vdup_n_u8(std::to_integer<std::uint8_t>(mask[1])));
    const C own = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    return vorrq_u8(v, vandq_u8(vtstq_u8(spread, own), vdupq_n_u8(value)));
  }
  template <int which, int shift>
  static QUERN_INLINE C crumbs(C v) {
    const C moved = vshlq_u8(v, vdupq_n_s8(shift - 2 * which));
    return vandq_u8(moved, vdupq_n_u8(3 << shift));
  }
  static QUERN_INLINE C look_up(const std::uint8_t* book, C index) {
    return vqtbl1q_u8(vld1q_u8(book), index);
  }
  /// What scale_codes does to the codes of a row.
  struct Scaling {
    C factor;  ///< s in every byte.
    C start;   ///< 128 − kOffset·s.
  };
  /// (code − kOffset)·s + 128 per row, code·s ≤ 255, kOffset·s ≤ 128.
  template <int kOffset>
  static QUERN_INLINE Scaling scaling(I s) {
    const C factor = vreinterpretq_u8_s32(vmulq_s32(s, vdupq_n_s32(0x01010101)));
    return {factor, vsubq_u8(vdupq_n_u8(128), vmulq_u8(factor, vdupq_n_u8(kOffset)))};
  }
  static QUERN_INLINE C scale_codes(C code, const Scaling& scaling) {
    return vmlaq_u8(scaling.start, code, scaling.factor);
  }

  // Whole-number products.
  static QUERN_INLINE I zero_ints() { return vdupq_n_s32(0); }
  template <int kOffset>
  static QUERN_INLINE I offset_start(const std::byte*) {
    return zero_ints();
  }
  template <int kOffset, int which>
  static QUERN_INLINE I minus_offset(const std::byte*) {
    return zero_ints();
  }
  static QUERN_INLINE int8x16_t broadcast_codes(const std::byte* p) {
    return vreinterpretq_s8_s32(vdupq_n_s32(peek<std::int32_t>(p)));
  }
  static QUERN_INLINE void store_ints(std::int32_t* p, I v) { vst1q_s32(p, v); }
  static QUERN_INLINE I add_scaled(I acc, I sum, I s) { return vmlaq_s32(acc, sum, s); }
  static QUERN_INLINE I add_scaled_wide(I acc, I sum, I s) { return add_scaled(acc, sum, s); }
  /// 1 + (v & kMask) per lane.
  template <int kMask>
  static QUERN_INLINE I masked_plus_1(I v) {
    return vaddq_s32(vandq_s32(v, vdupq_n_s32(kMask)), vdupq_n_s32(1));
  }

  using Wide = int8x16_t;
  static QUERN_INLINE Wide signed_wide(C v) { return vreinterpretq_s8_u8(v); }
  static QUERN_INLINE Wide wide(C code) { return signed_wide(veorq_u8(code, vdupq_n_u8(128))); }
  static QUERN_INLINE I wide_start(const std::byte*) { return zero_ints(); }
  static QUERN_INLINE I wide_dot(I acc, Wide w, int8x16_t x) { return vdotq_s32(acc, w, x); }
  /// Signed codes as codes + 128.
  static QUERN_INLINE C plus_128(C v) { return veorq_u8(v, vdupq_n_u8(128)); }
  /// acc + codes 0 … 127 times signed codes.
  static QUERN_INLINE I positive_dot(I acc, C positive, int8x16_t x) {
    return vdotq_s32(acc, vreinterpretq_s8_u8(positive), x);
  }
  static QUERN_INLINE I positive_dot(I acc, int8x16_t positive, C x) {
    return vdotq_s32(acc, positive, vreinterpretq_s8_u8(x));
  }
  template <int kValue>
  static QUERN_INLINE C minus(C v) {
    return vsubq_u8(v, vdupq_n_u8(kValue));
  }

  /// See generic/group_dot.h. Both operands are signed here, so the starts are not needed.
  template <int kMax, int kOffset, int kFirst, int kCount, int P, int W, int S, class Code,
            class Start>
  static QUERN_INLINE void dot(I (&sum)[P * W], Code code, const std::byte* x, Start) {
    each<P * W>([&](auto i) QUERN_INLINE_LAMBDA { sum[i] = zero_ints(); });
    each<kCount>([&](auto i) QUERN_INLINE_LAMBDA {
      constexpr int kk = kFirst + i.value;
      each<P>([&](auto p) QUERN_INLINE_LAMBDA {
        const C w = code(p, Index<kk>{});
        step<W>(&sum[p * W], vreinterpretq_s8_u8(vsubq_u8(w, vdupq_n_u8(kOffset))), x + 4 * S * kk);
      });
    });
  }
  /// One step of W rows side by side: four rows a load, chosen by lane.
  template <int W>
  static QUERN_INLINE void step(I* sum, int8x16_t w, const std::byte* x) {
    if constexpr (W % 4 == 0) {
      each<W / 4>([&](auto i) QUERN_INLINE_LAMBDA {
        const int8x16_t four = vreinterpretq_s8_u8(vld1q_u8(bytes(x + 16 * i)));
        I* to = sum + 4 * i;
        to[0] = vdotq_laneq_s32(to[0], w, four, 0);
        to[1] = vdotq_laneq_s32(to[1], w, four, 1);
        to[2] = vdotq_laneq_s32(to[2], w, four, 2);
        to[3] = vdotq_laneq_s32(to[3], w, four, 3);
      });
    } else {
      each<W>([&](auto t) QUERN_INLINE_LAMBDA {
        sum[t] = vdotq_s32(sum[t], w, broadcast_codes(x + 4 * t));
      });
    }
  }

  // Lanes.
  template <int distance>
  static QUERN_INLINE V swap(const V& x) {
    V r;
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {
      const F v = x.v[i];
      if constexpr (distance == 1) r.v[i] = V::Batch(vrev64q_f32(v));
      if constexpr (distance == 2) r.v[i] = V::Batch(vextq_f32(v, v, 2));
      if constexpr (distance == 4) r.v[i] = x.v[i ^ 1];
      if constexpr (distance == 8) r.v[i] = x.v[i ^ 2];
    });
    return r;
  }
  /// The lanes whose number has a bit from `with`, the others from `without`.
  template <int bit>
  static QUERN_INLINE V blend(const V& without, const V& with) {
    V r;
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {
      const F a = without.v[i], b = with.v[i];
      if constexpr (bit == 1) r.v[i] = V::Batch(vtrn2q_f32(vrev64q_f32(a), b));
      if constexpr (bit == 2) r.v[i] = V::Batch(vcombine_f32(vget_low_f32(a), vget_high_f32(b)));
      if constexpr (bit == 4) r.v[i] = i % 2 == 0 ? without.v[i] : with.v[i];
      if constexpr (bit == 8) r.v[i] = i < 2 ? without.v[i] : with.v[i];
    });
    return r;
  }
  /// Four registers made by make(i).
  template <class Make>
  static QUERN_INLINE V gather(Make make) {
    V r;
    each<4>([&](auto i) QUERN_INLINE_LAMBDA { r.v[i] = V::Batch(make(i)); });
    return r;
  }
  static QUERN_INLINE V load_halves(const std::byte* p) {
    return gather([&](auto i) QUERN_INLINE_LAMBDA { return halves(p + 8 * i); });
  }
  static QUERN_INLINE V load_brain_halves(const std::byte* p) {
    return gather([&](auto i) QUERN_INLINE_LAMBDA { return brain_halves(p + 8 * i); });
  }
  static QUERN_INLINE V load_signed_bytes(const std::byte* p) {
    return gather([&](auto i) QUERN_INLINE_LAMBDA { return signed_bytes(p + 4 * i); });
  }
  /// 16 nibbles (low or high) of 16 bytes, minus 8.
  template <int high>
  static QUERN_INLINE V load_nibbles(const std::byte* p) {
    return gather([&](auto i) QUERN_INLINE_LAMBDA {
      return to_float(vsubq_s32(nibble_ints<high>(p + 4 * i), vdupq_n_s32(8)));
    });
  }
  static QUERN_INLINE void store_halves(std::byte* p, const V& x) {
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {
      vst1_u8(reinterpret_cast<std::uint8_t*>(p + 8 * i),
              vreinterpret_u8_f16(vcvt_f16_f32(x.v[i])));
    });
  }
  /// The low 16 (8) bits of every lane.
  static QUERN_INLINE void store_low16(std::byte* p, const V::Int& x) {
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {
      const int32x4_t v = x.v[i];
      vst1_u8(reinterpret_cast<std::uint8_t*>(p + 8 * i), vreinterpret_u8_s16(vmovn_s32(v)));
    });
  }
  static QUERN_INLINE void store_low8(std::byte* p, const V::Int& x) {
    const int32x4_t a = x.v[0], b = x.v[1], c = x.v[2], d = x.v[3];
    const int16x8_t low = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
    const int16x8_t high = vcombine_s16(vmovn_s32(c), vmovn_s32(d));
    vst1q_s8(reinterpret_cast<std::int8_t*>(p), vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
  }
  static QUERN_INLINE std::int32_t largest(const V::Int& x) {
    const int32x4_t a = x.v[0], b = x.v[1], c = x.v[2], d = x.v[3];
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(a, b), vmaxq_s32(c, d)));
  }
  /// Sum of 16 signed bytes.
  static QUERN_INLINE std::int32_t sum_of_bytes(const std::byte* p) {
    return vaddlvq_s8(vreinterpretq_s8_u8(vld1q_u8(bytes(p))));
  }
  /// Of every lane the sum of its four signed bytes.
  static QUERN_INLINE V::Int sums_of_fours(const V::Int& x) {
    V::Int r;
    each<4>([&](auto i) QUERN_INLINE_LAMBDA {
      r.v[i] = vpaddlq_s16(vpaddlq_s8(vreinterpretq_s8_s32(x.v[i])));
    });
    return r;
  }
  /// 16 int32 as float32.
  static QUERN_INLINE V to_lanes(const std::int32_t* p) {
    return gather([&](auto i) QUERN_INLINE_LAMBDA { return to_float(vld1q_s32(p + 4 * i)); });
  }
};

}  // namespace
}  // namespace quern::kernels
