/// \file
/// What only AVX2 (with FMA and F16C) can say: a register holds 8 rows, half a panel.
#pragma once

#include <immintrin.h>

#include "kernels/generic/group_dot.h"
#include "kernels/generic/vec16.h"

namespace quern::kernels {
namespace {

using Avx2Arch = xsimd::fma3<xsimd::avx2>;

template <>
struct Exact<Avx2Arch> {
  static QUERN_INLINE __m256 fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
  static QUERN_INLINE __m256 div(__m256 a, __m256 b) { return _mm256_div_ps(a, b); }
  static QUERN_INLINE __m256 larger(__m256 a, __m256 b) { return _mm256_max_ps(b, a); }
};

struct Avx2 {
  using V = Vec16<Avx2Arch>;
  using F = __m256;
  using I = __m256i;
  using C = __m256i;
  static constexpr int kRows = 8, kParts = 2, kFullParts = 2, kTile = 4, kLanes = 4;
  /// Parts of a panel in a tile of groups, whose sums need registers beside its results.
  static constexpr int kGroupParts = kParts;
  /// Vectors of queries that attention's integer tiles carry at once: what the registers hold.
  static constexpr int kStrips = 2;
  /// Whether products of codes + 128 begin with −128·Σ of the others.
  static constexpr bool kStartsWide = false;
  /// Whether products are summed as pairs of 16 bits (generic/group_dot.h), so that one of 8-bit
  /// codes takes more instructions than one of fewer bits.
  static constexpr bool kSumsPairs = true;

  /// One register for a sum of a loop, whose copies GCC 12 otherwise moves and spills.
  static QUERN_INLINE void keep(I& sum) { __asm__("" : "+x"(sum)); }

  // Float32.
  static QUERN_INLINE F zero() { return _mm256_setzero_ps(); }
  static QUERN_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
  static QUERN_INLINE void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static QUERN_INLINE F broadcast(const std::byte* p) { return _mm256_set1_ps(peek<float>(p)); }
  static QUERN_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
  static QUERN_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static QUERN_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  /// b where a < b, else a.
  static QUERN_INLINE F larger(F a, F b) { return _mm256_max_ps(b, a); }
  static QUERN_INLINE F negative(F a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  static QUERN_INLINE float square_root(float x) {
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
  }
  static QUERN_INLINE F to_float(I v) { return _mm256_cvtepi32_ps(v); }

  // 8 numbers side by side.
  static QUERN_INLINE __m128i load8(const std::byte* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static QUERN_INLINE __m128i load16(const std::byte* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static QUERN_INLINE F halves(const std::byte* p) { return _mm256_cvtph_ps(load16(p)); }
  static QUERN_INLINE F brain_halves(const std::byte* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(p)), 16));
  }
  static QUERN_INLINE F unsigned_bytes(const std::byte* p) {
    return to_float(_mm256_cvtepu8_epi32(load8(p)));
  }
  static QUERN_INLINE F signed_bytes(const std::byte* p) {
    return to_float(_mm256_cvtepi8_epi32(load8(p)));
  }
  template <int high>
  static QUERN_INLINE I nibble_ints(const std::byte* p) {
    return _mm256_and_si256(_mm256_srli_epi32(_mm256_cvtepu8_epi32(load8(p)), 4 * high),
                            _mm256_set1_epi32(15));
  }
  static QUERN_INLINE F low_nibbles_of_bytes(const std::byte* p) {
    return to_float(nibble_ints<0>(p));
  }
  static QUERN_INLINE F high_nibbles_of_bytes(const std::byte* p) {
    return to_float(nibble_ints<1>(p));
  }
  /// 2^(e − 128) of 8 bytes e; NaN for 255, denormal for 0 and 1.
  static QUERN_INLINE F powers(const std::byte* p) {
    const I e = _mm256_cvtepu8_epi32(load8(p));
    const I normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const I denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    I r = _mm256_blendv_epi8(normal, denormal, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e));
    r = _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7fc00000),
                           _mm256_cmpeq_epi32(e, _mm256_set1_epi32(255)));
    return _mm256_castsi256_ps(r);
  }

  // Codes.
  static QUERN_INLINE C load_codes(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static QUERN_INLINE void store_codes(std::byte* p, C v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static QUERN_INLINE C low_nibbles(C v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
  static QUERN_INLINE C high_nibbles(C v) {
    return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
  }
  static QUERN_INLINE C either(C a, C b) { return _mm256_or_si256(a, b); }
  template <int value>
  static QUERN_INLINE C plus(C v) {
    return _mm256_add_epi8(v, _mm256_set1_epi8(static_cast<char>(value)));
  }
  /// Each byte of the mask is spread over eight bytes, whose own bit then decides.
  template <int value>
  static QUERN_INLINE C add_bits(C v, const std::byte* mask) {
    const I four = _mm256_set1_epi32(peek<std::int32_t>(mask));
    const I spread = _mm256_shuffle_epi8(
        four, _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
    const I own = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    const I set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, own), own);
    return _mm256_or_si256(v, _mm256_and_si256(set, _mm256_set1_epi8(value)));
  }
  template <int which, int shift>
  static QUERN_INLINE C crumbs(C v) {
    constexpr int kBy = 2 * which - shift;
    const C moved = kBy >= 0 ? _mm256_srli_epi16(v, kBy >= 0 ? kBy : 0)
                             : _mm256_slli_epi16(v, kBy >= 0 ? 0 : -kBy);
    return _mm256_and_si256(moved, _mm256_set1_epi8(3 << shift));
  }
  static QUERN_INLINE C look_up(const std::uint8_t* book, C index) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(book));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index);
  }
  /// What scale_codes does to the codes of a row.
  struct Scaling {
    I factor;  ///< s in every 16 bits.
    C start;   ///< 128 − kOffset·s.
  };
  /// (code − kOffset)·s + 128 per row, code·s ≤ 255, kOffset·s ≤ 128.
  template <int kOffset>
  static QUERN_INLINE Scaling scaling(I s) {
    const I pair = _mm256_or_si256(s, _mm256_slli_epi32(s, 16));
    const I offset = _mm256_mullo_epi16(pair, _mm256_set1_epi16(kOffset * 257));
    return {pair, _mm256_sub_epi8(_mm256_set1_epi8(-128), offset)};
  }
  /// Two codes at a time: no product reaches the next.
  static QUERN_INLINE C scale_codes(C code, const Scaling& scaling) {
    return _mm256_add_epi8(_mm256_mullo_epi16(code, scaling.factor), scaling.start);
  }

  // Whole-number products.
  /// v; GCC would turn a chain of sums into a tree whose leaves then overflow the registers.
  static QUERN_INLINE I in_order(I v) {
#if defined(__GNUC__)
    asm("" : "+x"(v));
#endif
    return v;
  }
  static QUERN_INLINE C ones() { return _mm256_set1_epi8(1); }
  static QUERN_INLINE I add_ints(I a, I b) { return _mm256_add_epi32(a, b); }
  static QUERN_INLINE I zero_ints() { return _mm256_setzero_si256(); }
  static QUERN_INLINE I broadcast_ints(const std::byte* p) {
    return _mm256_set1_epi32(peek<std::int32_t>(p));
  }
  static QUERN_INLINE C broadcast_codes(const std::byte* p) { return broadcast_ints(p); }
  static QUERN_INLINE I load_ints(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static QUERN_INLINE void store_ints(std::int32_t* p, I v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  /// acc + sum·s, |sum| < 2¹⁵, s < 2¹⁵.
  static QUERN_INLINE I add_scaled(I acc, I sum, I s) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(sum, s));
  }
  /// Bytes, each in both 16 bits of its row.
  static QUERN_INLINE I doubled_bytes(const std::byte* p) {
    const I v = _mm256_cvtepu8_epi32(load8(p));
    return _mm256_or_si256(v, _mm256_slli_epi32(v, 16));
  }
  /// 1 + (v & kMask) per 16 bits.
  template <int kMask>
  static QUERN_INLINE I masked_pairs_plus_1(I v) {
    return _mm256_add_epi16(_mm256_and_si256(v, _mm256_set1_epi16(kMask)), _mm256_set1_epi16(1));
  }
  /// kFactor times the lower 16 bits of rows of a and the upper ones of b.
  template <int kFactor>
  static QUERN_INLINE I times_pairs(I a, I b) {
    return _mm256_mullo_epi16(_mm256_blend_epi16(a, b, 0xaa), _mm256_set1_epi16(kFactor));
  }
  /// −kOffset·Σ of the codes of x in a group, kOffset 0 or a power of two; −128·Σ is at p.
  template <int kOffset>
  static QUERN_INLINE I offset_start(const std::byte* p) {
    if constexpr (kOffset == 0) {
      return zero_ints();
    } else if constexpr (kOffset == 128) {
      return broadcast_ints(p);
    } else {
      return _mm256_srai_epi32(broadcast_ints(p), 7 - log2_of(kOffset));
    }
  }
  /// Signed codes and their magnitudes: maddubs wants one unsigned operand.
  struct Wide {
    C magnitude, code;
  };
  static QUERN_INLINE Wide signed_wide(C v) { return {_mm256_abs_epi8(v), v}; }
  static QUERN_INLINE Wide wide(C code) {
    return signed_wide(_mm256_xor_si256(code, _mm256_set1_epi8(-128)));
  }
  /// −128·Σ of rows with these sums of codes.
  static QUERN_INLINE I wide_start_of(I sums) {
    return _mm256_sub_epi32(zero_ints(), _mm256_slli_epi32(sums, 7));
  }
  static QUERN_INLINE I wide_start(const std::byte*) { return zero_ints(); }
  static QUERN_INLINE I wide_dot(I acc, const Wide& w, C x) {
    const I pairs = _mm256_maddubs_epi16(w.magnitude, _mm256_sign_epi8(x, w.code));
    return in_order(_mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
  }
  /// Signed codes as codes + 128.
  static QUERN_INLINE C plus_128(C v) { return _mm256_xor_si256(v, _mm256_set1_epi8(-128)); }
  /// acc + codes 0 … 127 times signed codes.
  static QUERN_INLINE I positive_dot(I acc, C positive, C x) {
    const I pairs = _mm256_maddubs_epi16(positive, x);  // ≤ 127·128·2 < 2¹⁵.
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  template <int kValue>
  static QUERN_INLINE C minus(C v) {
    return _mm256_sub_epi8(v, _mm256_set1_epi8(kValue));
  }

  /// Sums of pairs of products as 16 bits, and sums of pairs of those.
  static QUERN_INLINE I pair_products(C code, C x) { return _mm256_maddubs_epi16(code, x); }
  static QUERN_INLINE I add_pairs(I a, I b) { return in_order(_mm256_add_epi16(a, b)); }
  static QUERN_INLINE I add_pair_sums(I acc, I pairs) {
    return in_order(_mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
  }
  /// See generic/group_dot.h.
  template <int kMax, int kOffset, int kFirst, int kCount, int P, int W, int S, class Code,
            class Start>
  static QUERN_INLINE void dot(I (&sum)[P * W], Code code, const std::byte* x, Start start) {
    dot_of_pairs<Avx2, kMax, kFirst, kCount, P, W, S>(sum, code, x, start);
  }

  // Lanes.
  template <int distance>
  static QUERN_INLINE V swap(const V& x) {
    V r;
    each<2>([&](auto i) QUERN_INLINE_LAMBDA {
      const F v = x.v[i];
      if constexpr (distance == 1) r.v[i] = V::Batch(_mm256_permute_ps(v, 0xb1));
      if constexpr (distance == 2) r.v[i] = V::Batch(_mm256_permute_ps(v, 0x4e));
      if constexpr (distance == 4) r.v[i] = V::Batch(_mm256_permute2f128_ps(v, v, 1));
      if constexpr (distance == 8) r.v[i] = x.v[1 - i];
    });
    return r;
  }
  /// The lanes whose number has a bit from `with`, the others from `without`.
  template <int bit>
  static QUERN_INLINE V blend(const V& without, const V& with) {
    if constexpr (bit == 8) return wrap(without.v[0], with.v[1]);
    constexpr int kFrom = bit == 1 ? 0xaa : bit == 2 ? 0xcc : 0xf0;
    return wrap(_mm256_blend_ps(without.v[0], with.v[0], kFrom),
                _mm256_blend_ps(without.v[1], with.v[1], kFrom));
  }
  static QUERN_INLINE V wrap(F low, F high) {
    V r;
    r.v[0] = typename V::Batch(low);
    r.v[1] = typename V::Batch(high);
    return r;
  }
  static QUERN_INLINE V load_halves(const std::byte* p) { return wrap(halves(p), halves(p + 16)); }
  static QUERN_INLINE V load_brain_halves(const std::byte* p) {
    return wrap(brain_halves(p), brain_halves(p + 16));
  }
  static QUERN_INLINE V load_signed_bytes(const std::byte* p) {
    return wrap(signed_bytes(p), signed_bytes(p + 8));
  }
  /// 16 nibbles (low or high) of 16 bytes, minus 8.
  template <int high>
  static QUERN_INLINE V load_nibbles(const std::byte* p) {
    const I eight = _mm256_set1_epi32(8);
    return wrap(to_float(_mm256_sub_epi32(nibble_ints<high>(p), eight)),
                to_float(_mm256_sub_epi32(nibble_ints<high>(p + 8), eight)));
  }
  static QUERN_INLINE void store_halves(std::byte* p, const V& x) {
    each<2>([&](auto i) QUERN_INLINE_LAMBDA {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16 * i),
                       _mm256_cvtps_ph(x.v[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    });
  }
  /// The low 16 (8) bits of every lane; they need not fit, so only bytes are moved.
  static QUERN_INLINE __m128i low16(I v) {
    const I order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1,
                                     4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_shuffle_epi8(v, order), 0x08));
  }
  static QUERN_INLINE void store_low16(std::byte* p, const V::Int& x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), low16(x.v[0]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), low16(x.v[1]));
  }
  static QUERN_INLINE void store_low8(std::byte* p, const V::Int& x) {
    const __m128i byte = _mm_set1_epi16(255);
    const __m128i low = _mm_and_si128(low16(x.v[0]), byte),
                  high = _mm_and_si128(low16(x.v[1]), byte);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(low, high));
  }
  static QUERN_INLINE std::int32_t largest(const V::Int& x) {
    const I both = _mm256_max_epi32(x.v[0], x.v[1]);
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
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
    each<2>([&](auto i) QUERN_INLINE_LAMBDA {
      r.v[i] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), x.v[i]),
                                 _mm256_set1_epi16(1));
    });
    return r;
  }
  /// 16 int32 as float32.
  static QUERN_INLINE V to_lanes(const std::int32_t* p) {
    const auto at = [](const std::int32_t* from) QUERN_INLINE_LAMBDA {
      return to_float(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    };
    return wrap(at(p), at(p + 8));
  }
};

}  // namespace
}  // namespace quern::kernels
