/// \file
/// What VNNI adds to AVX-512: four products of 8 bits and their sum in one instruction, exactly.
#pragma once

#include "kernels/avx512/ops.h"

namespace quern::kernels {
namespace {

struct Avx512Vnni : Avx512 {
  static constexpr bool kSumsPairs = false;

  static QUERN_INLINE I add_scaled(I acc, I sum, I s) { return _mm512_dpwssd_epi32(acc, sum, s); }
  /// The same for any sum.
  static QUERN_INLINE I add_scaled_wide(I acc, I sum, I s) {
    return _mm512_add_epi32(acc, _mm512_mullo_epi32(sum, s));
  }
  /// 1 + (v & kMask) per lane.
  template <int kMask>
  static QUERN_INLINE I masked_plus_1(I v) {
    return _mm512_add_epi32(_mm512_and_si512(v, _mm512_set1_epi32(kMask)), _mm512_set1_epi32(1));
  }
  /// −kOffset·sum `which` of the int16 pair at `sums`.
  template <int kOffset, int which>
  static QUERN_INLINE I minus_offset(const std::byte* sums) {
    constexpr int kPair = which == 0 ? -kOffset & 0xffff : -kOffset * 65536;
    return _mm512_madd_epi16(broadcast_ints(sums), _mm512_set1_epi32(kPair));
  }

  using Wide = C;
  static QUERN_INLINE Wide wide(C code) { return code; }
  static constexpr bool kStartsWide = true;
  /// −128·Σ of a whole row whose sum of codes is at p.
  static QUERN_INLINE I wide_start(const std::byte* p) { return wide_start_of(broadcast_ints(p)); }
  static QUERN_INLINE I wide_dot(I acc, Wide w, C x) { return _mm512_dpbusd_epi32(acc, w, x); }

  static QUERN_INLINE I positive_dot(I acc, C positive, C x) {
    return _mm512_dpbusd_epi32(acc, positive, x);
  }

  /// See generic/group_dot.h.
  template <int kMax, int kOffset, int kFirst, int kCount, int P, int W, int S, class Code,
            class Start>
  static QUERN_INLINE void dot(I (&sum)[P * W], Code code, const std::byte* x, Start start) {
    dot_of_fours<Avx512Vnni, kFirst, kCount, P, W, S>(sum, code, x, start);
  }
};

}  // namespace
}  // namespace quern::kernels
