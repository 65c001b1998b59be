/// \file
/// The tables behind unicode.h, sorted by code point.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quern::text::jinja {

/// All code points of first…last.
struct CharRange {
  std::uint32_t first, last;
};
/// Every `stride`-th code point of first…last maps to itself plus `delta`.
struct CaseRange {
  std::uint32_t first, last;
  std::uint32_t stride;
  std::int32_t delta;
};
/// A code point that maps to two or three; unused places are 0.
struct LongCase {
  std::uint32_t from;
  std::uint32_t to[3];
};

extern const CharRange kAlpha[];
extern const std::size_t kAlphaCount;
extern const CharRange kDigit[];
extern const std::size_t kDigitCount;
extern const CharRange kDecimal[];
extern const std::size_t kDecimalCount;
extern const CharRange kNumeric[];
extern const std::size_t kNumericCount;
extern const CharRange kUnprintable[];
extern const std::size_t kUnprintableCount;
extern const CharRange kLower[];
extern const std::size_t kLowerCount;
extern const CharRange kUpper[];
extern const std::size_t kUpperCount;
extern const CharRange kTitle[];
extern const std::size_t kTitleCount;
extern const CaseRange kToLower[];
extern const std::size_t kToLowerCount;
extern const CaseRange kToUpper[];
extern const std::size_t kToUpperCount;
extern const CaseRange kToTitle[];
extern const std::size_t kToTitleCount;
extern const LongCase kLongLower[];
extern const std::size_t kLongLowerCount;
extern const LongCase kLongUpper[];
extern const std::size_t kLongUpperCount;
extern const LongCase kLongTitle[];
extern const std::size_t kLongTitleCount;

}  // namespace quern::text::jinja
