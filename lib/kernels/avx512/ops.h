/// \file
/// What only AVX-512 (F, BW, DQ, VL) can say: a register holds all 16 rows of a panel.
#pragma once

#include <immintrin.h>

#include "kernels/generic/group_dot.h"
#include "kernels/generic/vec16.h"

namespace quern::kernels {
namespace {

template <>
struct Exact<xsimd::avx512bw> {
  static QUERN_INLINE __m512 fma(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
  static QUERN_INLINE __m512 div(__m512 a, __m512 b) { return _mm512_div_ps(a, b); }
  static QUERN_INLINE __m512 larger(__m512 a, __m512 b) { return _mm512_max_ps(b, a); }
};

struct Avx512 {
  using V = Vec16<xsimd::avx512bw>;
  using F = __m512;
  using I = __m512i;
  using C = __m512i;
  static constexpr int kRows = 16, kParts = 1, kFullParts = 1, kTile = 8, kLanes = 8;
  static constexpr int kGroupParts = kParts;
  /// Vectors of queries that attention's integer tiles carry at once: what the registers hold.
  static constexpr int kStrips = 2;
  /// Whether products of codes + 128 begin with −128·Σ of the others.
  static constexpr bool kStartsWide = false;
  /// Whether products are summed as pairs of 16 bits (generic/group_dot.h), so that one of 8-bit
  /// codes takes more instructions than one of fewer bits.
  static constexpr bool kSumsPairs = true;

  /// One register for a sum of a loop, whose copies GCC 12 otherwise moves and spills.
  static QUERN_INLINE void keep(I& sum) { __asm__("" : "+v"(sum)); }

  // Float32.
  static QUERN_INLINE F zero() { return _mm512_setzero_ps(); }
  static QUERN_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  static QUERN_INLINE void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static QUERN_INLINE F broadcast(const std::byte* p) { return _mm512_set1_ps(peek<float>(p)); }
  static QUERN_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static QUERN_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static QUERN_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  /// b where a < b, else a.
  static QUERN_INLINE F larger(F a, F b) { return _mm512_max_ps(b, a); }
  static QUERN_INLINE F negative(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  static QUERN_INLINE float square_root(float x) {
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
  }
  static QUERN_INLINE F to_float(I v) { return _mm512_cvtepi32_ps(v); }

  // 16 numbers side by side.
  static QUERN_INLINE __m128i load16(const std::byte* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static QUERN_INLINE __m256i load32(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static QUERN_INLINE F halves(const std::byte* p) { return _mm512_cvtph_ps(load32(p)); }
  static QUERN_INLINE F brain_halves(const std::byte* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load32(p)), 16));
  }
  static QUERN_INLINE F unsigned_bytes(const std::byte* p) {
    return to_float(_mm512_cvtepu8_epi32(load16(p)));
  }
  static QUERN_INLINE F signed_bytes(const std::byte* p) {
    return to_float(_mm512_cvtepi8_epi32(load16(p)));
  }
  template <int high>
  static QUERN_INLINE I nibble_ints(const std::byte* p) {
    return _mm512_and_si512(_mm512_srli_epi32(_mm512_cvtepu8_epi32(load16(p)), 4u * high),
                            _mm512_set1_epi32(15));
  }
  static QUERN_INLINE F low_nibbles_of_bytes(const std::byte* p) {
    return to_float(nibble_ints<0>(p));
  }
  static QUERN_INLINE F high_nibbles_of_bytes(const std::byte* p) {
    return to_float(nibble_ints<1>(p));
  }
  /// 2^(e − 128) of 16 bytes e; NaN for 255, denormal for 0 and 1.
  static QUERN_INLINE F powers(const std::byte* p) {
    const I e = _mm512_cvtepu8_epi32(load16(p));
    const I normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const I denormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    I r = _mm512_mask_mov_epi32(normal, _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), denormal);
    r = _mm512_mask_mov_epi32(r, _mm512_cmpeq_epi32_mask(e, _mm512_set1_epi32(255)),
                              _mm512_set1_epi32(0x7fc00000));
    return _mm512_castsi512_ps(r);
  }

  // Codes.
  static QUERN_INLINE C load_codes(const std::byte* p) { return _mm512_loadu_si512(p); }
  static QUERN_INLINE void store_codes(std::byte* p, C v) { _mm512_storeu_si512(p, v); }
  static QUERN_INLINE C low_nibbles(C v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
  static QUERN_INLINE C high_nibbles(C v) {
    return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
  }
  static QUERN_INLINE C either(C a, C b) { return _mm512_or_si512(a, b); }
  template <int value>
  static QUERN_INLINE C plus(C v) {
    return _mm512_add_epi8(v, _mm512_set1_epi8(static_cast<char>(value)));
  }
  template <int value>
  static QUERN_INLINE C add_bits(C v, const std::byte* mask) {
    const __mmask64 m = _cvtu64_mask64(peek<std::uint64_t>(mask));
    return _mm512_mask_add_epi8(v, m, v, _mm512_set1_epi8(value));
  }
  /// Crumb `which` of every byte, at bit `shift`.
  template <unsigned which, unsigned shift>
  static QUERN_INLINE C crumbs(C v) {
    constexpr unsigned kRight = 2 * which > shift ? 2 * which - shift : 0u;
    constexpr unsigned kLeft = shift > 2 * which ? shift - 2 * which : 0u;
    const C moved = _mm512_slli_epi16(_mm512_srli_epi16(v, kRight), kLeft);
    return _mm512_and_si512(moved, _mm512_set1_epi8(static_cast<char>(3 << shift)));
  }
  static QUERN_INLINE C look_up(const std::uint8_t* book, C index) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(book));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), index);
  }
  /// What scale_codes does to the codes of a row.
  struct Scaling {
    I factor;  ///< s in every 16 bits.
    C start;   ///< 128 − kOffset·s.
  };
  /// (code − kOffset)·s + 128 per row, code·s ≤ 255, kOffset·s ≤ 128.
  template <int kOffset>
  static QUERN_INLINE Scaling scaling(I s) {
    const I pair = _mm512_or_si512(s, _mm512_slli_epi32(s, 16));
    const I offset = _mm512_mullo_epi16(pair, _mm512_set1_epi16(kOffset * 257));
    return {pair, _mm512_sub_epi8(_mm512_set1_epi8(-128), offset)};
  }
  /// Two codes at a time: no product reaches the next.
  static QUERN_INLINE C scale_codes(C code, const Scaling& scaling) {
    return _mm512_add_epi8(_mm512_mullo_epi16(code, scaling.factor), scaling.start);
  }

  // Whole-number products.
  /// v; GCC would turn a chain of sums into a tree whose leaves then overflow the registers.
  static QUERN_INLINE I in_order(I v) {
#if defined(__GNUC__)
    asm("" : "+v"(v));
#endif
    return v;
  }
  static QUERN_INLINE C ones() { return _mm512_set1_epi8(1); }
  static QUERN_INLINE I add_ints(I a, I b) { return _mm512_add_epi32(a, b); }
  static QUERN_INLINE I zero_ints() { return _mm512_setzero_si512(); }
  static QUERN_INLINE I broadcast_ints(const std::byte* p) {
    return _mm512_set1_epi32(peek<std::int32_t>(p));
  }
  static QUERN_INLINE C broadcast_codes(const std::byte* p) { return broadcast_ints(p); }
  /// acc + sum·s, |sum| < 2¹⁵, s < 2¹⁵.
  static QUERN_INLINE I add_scaled(I acc, I sum, I s) {
    return _mm512_add_epi32(acc, _mm512_madd_epi16(sum, s));
  }
  /// Bytes, each in both 16 bits of its row.
  static QUERN_INLINE I doubled_bytes(const std::byte* p) {
    const I v = _mm512_cvtepu8_epi32(load16(p));
    return _mm512_or_si512(v, _mm512_slli_epi32(v, 16));
  }
  /// 1 + (v & kMask) per 16 bits.
  template <int kMask>
  static QUERN_INLINE I masked_pairs_plus_1(I v) {
    return _mm512_add_epi16(_mm512_and_si512(v, _mm512_set1_epi16(kMask)), _mm512_set1_epi16(1));
  }
  /// kFactor times the lower 16 bits of rows of a and the upper ones of b.
  template <int kFactor>
  static QUERN_INLINE I times_pairs(I a, I b) {
    return _mm512_mullo_epi16(_mm512_mask_blend_epi16(0xaaaaaaaau, a, b),
                              _mm512_set1_epi16(kFactor));
  }
  /// −kOffset·Σ of the codes of x in a group, kOffset 0 or a power of two; −128·Σ is at p.
  template <int kOffset>
  static QUERN_INLINE I offset_start(const std::byte* p) {
    if constexpr (kOffset == 0) {
      return zero_ints();
    } else if constexpr (kOffset == 128) {
      return broadcast_ints(p);
    } else {
      constexpr unsigned kShift = 7u - static_cast<unsigned>(log2_of(kOffset));
      return _mm512_srai_epi32(broadcast_ints(p), kShift);
    }
  }

  /// A vector of 8-bit codes + 128 as magnitude and sign, for maddubs, whose first operand is
  /// unsigned.
  struct Wide {
    C magnitude;
    __mmask64 minus;
  };
  static QUERN_INLINE Wide wide(C code) {
    return signed_wide(_mm512_xor_si512(code, _mm512_set1_epi8(-128)));
  }
  /// −128·Σ of rows with these sums of codes.
  static QUERN_INLINE I wide_start_of(I sums) {
    return _mm512_sub_epi32(zero_ints(), _mm512_slli_epi32(sums, 7));
  }
  static QUERN_INLINE I wide_start(const std::byte*) { return zero_ints(); }
  static QUERN_INLINE I wide_dot(I acc, const Wide& w, C x) {
    const C turned = _mm512_mask_sub_epi8(x, w.minus, _mm512_setzero_si512(), x);
    const I pairs = _mm512_maddubs_epi16(w.magnitude, turned);  // ≤ 128·127·2 < 2¹⁵.
    return in_order(_mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))));
  }

  /// The same of codes that are signed already.
  static QUERN_INLINE Wide signed_wide(C v) { return {_mm512_abs_epi8(v), _mm512_movepi8_mask(v)}; }
  /// Signed codes as codes + 128.
  static QUERN_INLINE C plus_128(C v) { return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); }
  /// acc + codes 0 … 127 times signed codes.
  static QUERN_INLINE I positive_dot(I acc, C positive, C x) {
    const I pairs = _mm512_maddubs_epi16(positive, x);  // ≤ 127·128·2 < 2¹⁵.
    return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  template <int kValue>
  static QUERN_INLINE C minus(C v) {
    return _mm512_sub_epi8(v, _mm512_set1_epi8(kValue));
  }
  static QUERN_INLINE I load_ints(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static QUERN_INLINE void store_ints(std::int32_t* p, I v) { _mm512_storeu_si512(p, v); }

  /// Sums of pairs of products as 16 bits, and sums of pairs of those.
  static QUERN_INLINE I pair_products(C code, C x) { return _mm512_maddubs_epi16(code, x); }
  static QUERN_INLINE I add_pairs(I a, I b) { return in_order(_mm512_add_epi16(a, b)); }
  static QUERN_INLINE I add_pair_sums(I acc, I pairs) {
    return in_order(_mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))));
  }
  /// See generic/group_dot.h.
  template <int kMax, int kOffset, int kFirst, int kCount, int P, int W, int S, class Code,
            class Start>
  static QUERN_INLINE void dot(I (&sum)[P * W], Code code, const std::byte* x, Start start) {
    dot_of_pairs<Avx512, kMax, kFirst, kCount, P, W, S>(sum, code, x, start);
  }

  // Lanes.
  template <int distance>
  static QUERN_INLINE V swap(const V& x) {
    V r;
    if constexpr (distance == 1) r.v[0] = V::Batch(_mm512_permute_ps(x.v[0], 0xb1));
    if constexpr (distance == 2) r.v[0] = V::Batch(_mm512_permute_ps(x.v[0], 0x4e));
    if constexpr (distance == 4) r.v[0] = V::Batch(_mm512_shuffle_f32x4(x.v[0], x.v[0], 0xb1));
    if constexpr (distance == 8) r.v[0] = V::Batch(_mm512_shuffle_f32x4(x.v[0], x.v[0], 0x4e));
    return r;
  }
  /// The lanes whose number has a bit from `with`, the others from `without`.
  template <int bit>
  static QUERN_INLINE V blend(const V& without, const V& with) {
    constexpr __mmask16 kFrom = bit == 1 ? 0xaaaa : bit == 2 ? 0xcccc : bit == 4 ? 0xf0f0 : 0xff00;
    return wrap(_mm512_mask_blend_ps(kFrom, without.v[0], with.v[0]));
  }
  static QUERN_INLINE V wrap(F x) {
    V r;
    r.v[0] = typename V::Batch(x);
    return r;
  }
  static QUERN_INLINE V load_halves(const std::byte* p) { return wrap(halves(p)); }
  static QUERN_INLINE V load_brain_halves(const std::byte* p) { return wrap(brain_halves(p)); }
  static QUERN_INLINE V load_signed_bytes(const std::byte* p) { return wrap(signed_bytes(p)); }
  /// 16 nibbles (low or high) of 16 bytes, minus 8.
  template <int high>
  static QUERN_INLINE V load_nibbles(const std::byte* p) {
    return wrap(to_float(_mm512_sub_epi32(nibble_ints<high>(p), _mm512_set1_epi32(8))));
  }
  static QUERN_INLINE void store_halves(std::byte* p, const V& x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x.v[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  /// The low 16 (8) bits of every lane.
  static QUERN_INLINE void store_low16(std::byte* p, const V::Int& x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x.v[0]));
  }
  static QUERN_INLINE void store_low8(std::byte* p, const V::Int& x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x.v[0]));
  }
  static QUERN_INLINE std::int32_t largest(const V::Int& x) {
    return _mm512_reduce_max_epi32(x.v[0]);
  }
  /// Sum of 16 signed bytes.
  static QUERN_INLINE std::int32_t sum_of_bytes(const std::byte* p) {
    const __m128i shifted = _mm_xor_si128(load16(p), _mm_set1_epi8(-128));
    const __m128i halves = _mm_sad_epu8(shifted, _mm_setzero_si128());
    return _mm_cvtsi128_si32(_mm_add_epi32(halves, _mm_unpackhi_epi64(halves, halves))) - 16 * 128;
  }
  /// Of every lane the sum of its four signed bytes.
  static QUERN_INLINE V::Int sums_of_fours(const V::Int& x) {
    V::Int r;
    r.v[0] =
        _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_set1_epi8(1), x.v[0]), _mm512_set1_epi16(1));
    return r;
  }
  /// 16 int32 as float32.
  static QUERN_INLINE V to_lanes(const std::int32_t* p) {
    return wrap(to_float(_mm512_loadu_si512(p)));
  }
};

}  // namespace
}  // namespace quern::kernels
