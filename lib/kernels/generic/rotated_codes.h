/// \file
/// How the native encodings of few bits become codes of 8 bits and sub-scales in registers: one
/// description per encoding, over the operations of an ISA. The layouts are FORMAT.md's.
///
/// A description holds one part of a panel and has kMax (largest code), kOffset (what to subtract),
/// kWideSums (16 products may exceed 16 bits), kScaleStream (where the row scales lie), code<kk>(b)
/// (k = 4kk … 4kk+3 of block b) and sub<h>(b) (sub-scales of half h of block b): multiple = code −
/// kOffset. For instructions that sum pairs, sub_pairs<h>(b) gives sub-scales in both 16 bits of a
/// row, offset_pairs(b) −kOffset times those of the first and of the second half.
#pragma once

#include "kernels/generic/group_codes.h"

namespace quern::kernels {
namespace {

template <class Isa, Encoding E>
struct RotatedCodes;

/// What descriptions share. Sub-scales are 1 + nibble mod (kMask + 1) where kMask is below 15.
template <class Isa, int max, int offset, int sub_stream, int mask = 15, bool wide_sums = false>
struct RotatedPart : PanelPart<Isa> {
  using PanelPart<Isa>::PanelPart;
  static constexpr int kMax = max, kOffset = offset, kScaleStream = sub_stream + 1;
  static constexpr bool kWideSums = wide_sums;

  template <int h>
  QUERN_INLINE typename Isa::I sub(std::int64_t b) const {
    const auto nibbles = Isa::template nibble_ints<h>(this->bytes(sub_stream, 16 * b));
    if constexpr (mask == 15) return nibbles;
    if constexpr (mask != 15) return Isa::template masked_plus_1<mask>(nibbles);
  }
  template <int h>
  QUERN_INLINE typename Isa::I sub_pairs(std::int64_t b) const {
    const auto bytes = Isa::doubled_bytes(this->bytes(sub_stream, 16 * b));
    const auto nibbles = h == 0 ? Isa::low_nibbles(bytes) : Isa::high_nibbles(bytes);
    if constexpr (mask == 15) return nibbles;
    if constexpr (mask != 15) return Isa::template masked_pairs_plus_1<mask>(nibbles);
  }
  QUERN_INLINE typename Isa::I offset_pairs(std::int64_t b) const {
    return Isa::template times_pairs<-offset>(sub_pairs<0>(b), sub_pairs<1>(b));
  }
};

template <class Isa>
struct RotatedCodes<Isa, Encoding::kQR4> : RotatedPart<Isa, 15, 8, 1> {
  using RotatedPart<Isa, 15, 8, 1>::RotatedPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template nibbles<kk>(0, b);
  }
};

/// Codes are doubled: the multiples 2q − 7 are 2q less an offset.
template <class Isa>
struct RotatedCodes<Isa, Encoding::kQR3> : RotatedPart<Isa, 14, 7, 2> {
  using RotatedPart<Isa, 14, 7, 2>::RotatedPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template with_bit<kk, 3>(this->template crumbs<kk, 1>(0, b), 1, b);
  }
};

template <class Isa>
struct RotatedCodes<Isa, Encoding::kQR5> : RotatedPart<Isa, 31, 16, 2, 7> {
  using RotatedPart<Isa, 31, 16, 2, 7>::RotatedPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template with_bit<kk, 4>(this->template nibbles<kk>(0, b), 1, b);
  }
};

template <class Isa>
struct RotatedCodes<Isa, Encoding::kQR6> : RotatedPart<Isa, 63, 32, 2, 3, true> {
  using RotatedPart<Isa, 63, 32, 2, 3, true>::RotatedPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return Isa::either(this->template nibbles<kk>(0, b), this->template crumbs<kk, 4>(1, b));
  }
};

}  // namespace
}  // namespace quern::kernels
