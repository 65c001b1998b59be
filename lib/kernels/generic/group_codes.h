/// \file
/// How the encodings of the family kQ8Group32 become codes of 8 bits and float scales in registers:
/// one description per encoding, over the operations of an ISA. The layouts are FORMAT.md's.
///
/// A description holds one part of a panel and has kMax (largest code), kOffset (what to subtract:
/// 0 or a power of two), kHalves (groups per 32 elements), kMin, kReady (codes cost no more than a
/// mask), code<kk>(b) (k = 4kk … 4kk+3 of block b), dw(b, h), mw(b, h).
#pragma once

#include "kernels/generic/unroll.h"
#include "kernels/install.h"

namespace quern::kernels {
namespace {

/// Addresses in a part of a panel.
template <class Isa>
struct PanelPart {
  using C = typename Isa::C;
  using F = typename Isa::F;
  const std::byte* s[4];
  int part;

  QUERN_INLINE PanelPart(const std::byte* panel, const PanelGeometry& geometry, int which)
      : part(which) {
    for (int i = 0; i < 4; ++i) s[i] = panel + geometry.stream[i];
  }

  template <int kk>
  QUERN_INLINE C nibbles(int stream, std::int64_t b) const {
    const C both = Isa::load_codes(s[stream] + 256 * b + 64 * (kk % 4) + 4 * Isa::kRows * part);
    if constexpr (kk < 4) return Isa::low_nibbles(both);
    if constexpr (kk >= 4) return Isa::high_nibbles(both);
  }
  template <int kk>
  QUERN_INLINE C whole(int stream, std::int64_t b) const {
    return Isa::load_codes(s[stream] + 512 * b + 64 * kk + 4 * Isa::kRows * part);
  }
  /// Adds 2^kShift to the codes whose extra bit is set.
  template <int kk, int kShift>
  QUERN_INLINE C with_bit(C codes, int stream, std::int64_t b) const {
    return Isa::template add_bits<1 << kShift>(codes,
                                               s[stream] + 64 * b + 8 * kk + Isa::kRows / 2 * part);
  }
  template <int kk, int kShift>
  QUERN_INLINE C crumbs(int stream, std::int64_t b) const {
    const C all = Isa::load_codes(s[stream] + 128 * b + 64 * (kk / 4) + 4 * Isa::kRows * part);
    return Isa::template crumbs<kk % 4, kShift>(all);
  }
  /// 16 float16 numbers of cell `cell`; cells hold `per_cell` such vectors.
  QUERN_INLINE F half(int stream, std::int64_t cell, int per_cell = 1, int which = 0) const {
    return Isa::halves(s[stream] + 32 * (cell * per_cell + which) + 2 * Isa::kRows * part);
  }
  QUERN_INLINE const std::byte* bytes(int stream, std::int64_t at) const {
    return s[stream] + at + Isa::kRows * part;
  }
};

template <class Isa, Encoding E>
struct GroupCodes;

/// kMax, kOffset, kHalves, kMin, kReady of a description.
template <int max, int offset, int halves, bool min, bool ready = false>
struct GroupRule {
  static constexpr int kMax = max, kOffset = offset, kHalves = halves;
  static constexpr bool kMin = min, kReady = ready;
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ4_0> : PanelPart<Isa>, GroupRule<15, 8, 1, false, true> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template nibbles<kk>(0, b);
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const { return this->half(1, b); }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ4_1> : PanelPart<Isa>, GroupRule<15, 0, 1, true, true> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template nibbles<kk>(0, b);
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const { return this->half(1, b); }
  QUERN_INLINE typename Isa::F mw(std::int64_t b, int) const { return this->half(2, b); }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ5_0> : PanelPart<Isa>, GroupRule<31, 16, 1, false> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template with_bit<kk, 4>(this->template nibbles<kk>(0, b), 1, b);
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const { return this->half(2, b); }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ5_1> : PanelPart<Isa>, GroupRule<31, 0, 1, true> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template with_bit<kk, 4>(this->template nibbles<kk>(0, b), 1, b);
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const { return this->half(2, b); }
  QUERN_INLINE typename Isa::F mw(std::int64_t b, int) const { return this->half(3, b); }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ8_0> : PanelPart<Isa>, GroupRule<255, 128, 1, false, true> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template whole<kk>(0, b);
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const { return this->half(1, b); }
};

/// The codebook of IQ4_NL plus 128.
constexpr std::uint8_t kIq4Book[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                       129, 141, 153, 166, 181, 197, 217, 241};

template <class Isa>
struct GroupCodes<Isa, Encoding::kIQ4_NL> : PanelPart<Isa>, GroupRule<255, 128, 1, false> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return Isa::look_up(kIq4Book, this->template nibbles<kk>(0, b));
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const { return this->half(1, b); }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kIQ4_XS> : PanelPart<Isa>, GroupRule<255, 128, 1, false> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return Isa::look_up(kIq4Book, this->template nibbles<kk>(0, b));
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const {
    return Isa::mul(this->half(2, b / 8), Isa::signed_bytes(this->bytes(1, 16 * b)));
  }
};

/// Twice the E2M1 numbers plus 16.
constexpr std::uint8_t kMxfp4Book[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                         16, 15, 14, 13, 12, 10, 8,  4};

template <class Isa>
struct GroupCodes<Isa, Encoding::kMXFP4> : PanelPart<Isa>, GroupRule<28, 16, 1, false> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return Isa::look_up(kMxfp4Book, this->template nibbles<kk>(0, b));
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const {
    return Isa::powers(this->bytes(1, 16 * b));
  }
};

/// Scales of Q4_K and Q5_K: an unsigned sub-scale and a minimum per 32, under d and dmin per 256.
template <class Isa, int kStream>
struct PairScales : PanelPart<Isa> {
  using PanelPart<Isa>::PanelPart;
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int) const {
    return Isa::mul(this->half(kStream + 1, b / 8, 2, 0),
                    Isa::unsigned_bytes(this->bytes(kStream, 32 * b)));
  }
  QUERN_INLINE typename Isa::F mw(std::int64_t b, int) const {
    return Isa::negative(Isa::mul(this->half(kStream + 1, b / 8, 2, 1),
                                  Isa::unsigned_bytes(this->bytes(kStream, 32 * b + 16))));
  }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ4_K> : PairScales<Isa, 1>, GroupRule<15, 0, 1, true> {
  using PairScales<Isa, 1>::PairScales;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template nibbles<kk>(0, b);
  }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ5_K> : PairScales<Isa, 2>, GroupRule<31, 0, 1, true> {
  using PairScales<Isa, 2>::PairScales;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template with_bit<kk, 4>(this->template nibbles<kk>(0, b), 1, b);
  }
};

/// Scales of Q3_K and Q6_K: a signed sub-scale per 16 under d per 256.
template <class Isa>
struct HalfScales : PanelPart<Isa> {
  using PanelPart<Isa>::PanelPart;
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int h) const {
    return Isa::mul(this->half(3, b / 8), Isa::signed_bytes(this->bytes(2, 32 * b + 16 * h)));
  }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ6_K> : HalfScales<Isa>, GroupRule<63, 32, 2, false> {
  using HalfScales<Isa>::HalfScales;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return Isa::either(this->template nibbles<kk>(0, b), this->template crumbs<kk, 4>(1, b));
  }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ3_K> : HalfScales<Isa>, GroupRule<7, 4, 2, false> {
  using HalfScales<Isa>::HalfScales;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template with_bit<kk, 2>(this->template crumbs<kk, 0>(0, b), 1, b);
  }
};

template <class Isa>
struct GroupCodes<Isa, Encoding::kQ2_K> : PanelPart<Isa>, GroupRule<3, 0, 2, true> {
  using PanelPart<Isa>::PanelPart;
  template <int kk>
  QUERN_INLINE typename Isa::C code(std::int64_t b) const {
    return this->template crumbs<kk, 0>(0, b);
  }
  QUERN_INLINE typename Isa::F dw(std::int64_t b, int h) const {
    return Isa::mul(this->half(2, b / 8, 2, 0),
                    Isa::low_nibbles_of_bytes(this->bytes(1, 32 * b + 16 * h)));
  }
  QUERN_INLINE typename Isa::F mw(std::int64_t b, int h) const {
    return Isa::negative(Isa::mul(this->half(2, b / 8, 2, 1),
                                  Isa::high_nibbles_of_bytes(this->bytes(1, 32 * b + 16 * h))));
  }
};

}  // namespace
}  // namespace quern::kernels
