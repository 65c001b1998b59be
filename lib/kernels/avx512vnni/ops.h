/// \file
/// What VNNI adds to AVX-512: four products of 8 bits and their sum in one instruction, exactly.
#pragma once

#include "kernels/avx512/ops.h"

namespace quern::kernels {
namespace {

struct Avx512Vnni : Avx512 {
  static constexpr bool kWideIsSlow = false;

  static QUERN_INLINE I add_scaled(I acc, I sum, I s) { return _mm512_dpwssd_epi32(acc, sum, s); }

  using Wide = C;
  static QUERN_INLINE Wide wide(C code) { return code; }
  static constexpr bool kStartsWide = true;
  /// −128·Σ of whole rows with these sums of codes.
  static QUERN_INLINE I wide_start_of(I sums) {
    return _mm512_sub_epi32(zero_ints(), _mm512_slli_epi32(sums, 7));
  }
  /// The same of a row whose sum of codes is at p.
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
