/// \file
/// What AVX-VNNI adds to AVX2, on processors that have no AVX-512 (Intel's of the client side since
/// Alder Lake): four products of 8 bits and their sum in one instruction, exactly.
#pragma once

#include "kernels/avx2/ops.h"

namespace quern::kernels {
namespace {

struct AvxVnni : Avx2 {
  static constexpr int kGroupParts = 1;
  static constexpr bool kSumsPairs = false;

  static QUERN_INLINE I add_scaled(I acc, I sum, I s) {
    return _mm256_dpwssd_avx_epi32(acc, sum, s);
  }
  /// The same for any sum.
  static QUERN_INLINE I add_scaled_wide(I acc, I sum, I s) {
    return _mm256_add_epi32(acc, _mm256_mullo_epi32(sum, s));
  }
  /// 1 + (v & kMask) per lane.
  template <int kMask>
  static QUERN_INLINE I masked_plus_1(I v) {
    return _mm256_add_epi32(_mm256_and_si256(v, _mm256_set1_epi32(kMask)), _mm256_set1_epi32(1));
  }
  /// −kOffset·sum `which` of the int16 pair at `sums`.
  template <int kOffset, int which>
  static QUERN_INLINE I minus_offset(const std::byte* sums) {
    constexpr int kPair = which == 0 ? -kOffset & 0xffff : -kOffset * 65536;
    return _mm256_madd_epi16(broadcast_ints(sums), _mm256_set1_epi32(kPair));
  }

  using Wide = C;
  static QUERN_INLINE Wide wide(C code) { return code; }
  static constexpr bool kStartsWide = true;
  /// −128·Σ of a whole row whose sum of codes is at p.
  static QUERN_INLINE I wide_start(const std::byte* p) { return wide_start_of(broadcast_ints(p)); }
  static QUERN_INLINE I wide_dot(I acc, Wide w, C x) { return _mm256_dpbusd_avx_epi32(acc, w, x); }

  static QUERN_INLINE I positive_dot(I acc, C positive, C x) {
    return _mm256_dpbusd_avx_epi32(acc, positive, x);
  }

  /// See generic/group_dot.h.
  template <int kMax, int kOffset, int kFirst, int kCount, int P, int W, int S, class Code,
            class Start>
  static QUERN_INLINE void dot(I (&sum)[P * W], Code code, const std::byte* x, Start start) {
    dot_of_fours<AvxVnni, kFirst, kCount, P, W, S>(sum, code, x, start);
  }
};

}  // namespace
}  // namespace quern::kernels
