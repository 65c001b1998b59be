#include "text/jinja/unicode.h"

#include <algorithm>

#include "text/jinja/unicode_tables.h"

namespace quern::text::jinja {
namespace {

bool in_ranges(const CharRange* table, std::size_t count, char32_t c) noexcept {
  const auto* found = std::upper_bound(table, table + count, c,
                                       [](char32_t x, const CharRange& r) { return x < r.first; });
  return found != table && c <= (found - 1)->last;
}

/// Maps `c` through a table of ranges. \return whether the table holds it.
bool map_case(const CaseRange* table, std::size_t count, char32_t& c) noexcept {
  const auto* found = std::upper_bound(table, table + count, c,
                                       [](char32_t x, const CaseRange& r) { return x < r.first; });
  if (found == table) return false;
  const CaseRange& range = *(found - 1);
  if (c > range.last || (c - range.first) % range.stride != 0) return false;
  c = static_cast<char32_t>(static_cast<std::int64_t>(c) + range.delta);
  return true;
}

bool append_long(std::string& out, const LongCase* table, std::size_t count, char32_t c) {
  const auto* found = std::lower_bound(table, table + count, c,
                                       [](const LongCase& r, char32_t x) { return r.from < x; });
  if (found == table + count || found->from != c) return false;
  for (const std::uint32_t part : found->to) {
    if (part != 0) append_utf8(out, part);
  }
  return true;
}

bool continues(std::string_view text, std::size_t at) noexcept {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u;
}

}  // namespace

std::size_t sequence_length(std::string_view text, std::size_t at) noexcept {
  const auto lead = static_cast<unsigned char>(text[at]);
  std::size_t want = 1;
  if (lead >= 0xF0u && lead < 0xF8u)
    want = 4;
  else if (lead >= 0xE0u && lead < 0xF0u)
    want = 3;
  else if (lead >= 0xC0u && lead < 0xE0u)
    want = 2;
  for (std::size_t i = 1; i < want; ++i) {
    if (!continues(text, at + i)) return 1;
  }
  return want;
}

char32_t decode_next(std::string_view text, std::size_t& at) noexcept {
  const auto lead = static_cast<unsigned char>(text[at]);
  const std::size_t length = sequence_length(text, at);
  if (length == 1) {
    ++at;
    return lead < 0x80u ? lead : 0xFFFDu;
  }
  char32_t c = lead & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    c = (c << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
  }
  at += length;
  return c;
}

std::size_t count_code_points(std::string_view text) noexcept {
  unsigned char bits = 0;
  for (const char c : text) bits = static_cast<unsigned char>(bits | static_cast<unsigned char>(c));
  if (bits < 0x80u) return text.size();
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); at += sequence_length(text, at)) ++count;
  return count;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80u) {
    put(c);
  } else if (c < 0x800u) {
    put(0xC0u | (c >> 6));
    put(0x80u | (c & 0x3Fu));
  } else if (c < 0x10000u) {
    put(0xE0u | (c >> 12));
    put(0x80u | ((c >> 6) & 0x3Fu));
    put(0x80u | (c & 0x3Fu));
  } else {
    put(0xF0u | (c >> 18));
    put(0x80u | ((c >> 12) & 0x3Fu));
    put(0x80u | ((c >> 6) & 0x3Fu));
    put(0x80u | (c & 0x3Fu));
  }
}

bool is_alpha(char32_t c) noexcept { return in_ranges(kAlpha, kAlphaCount, c); }
bool is_digit(char32_t c) noexcept { return in_ranges(kDigit, kDigitCount, c); }
bool is_decimal(char32_t c) noexcept { return in_ranges(kDecimal, kDecimalCount, c); }
bool is_numeric_class(char32_t c) noexcept { return in_ranges(kNumeric, kNumericCount, c); }
bool is_printable(char32_t c) noexcept { return !in_ranges(kUnprintable, kUnprintableCount, c); }
bool is_lower(char32_t c) noexcept { return in_ranges(kLower, kLowerCount, c); }
bool is_upper(char32_t c) noexcept { return in_ranges(kUpper, kUpperCount, c); }
bool is_title(char32_t c) noexcept { return in_ranges(kTitle, kTitleCount, c); }

bool is_space(char32_t c) noexcept {
  return (c >= 0x09u && c <= 0x0Du) || (c >= 0x1Cu && c <= 0x20u) || c == 0x85u || c == 0xA0u ||
         c == 0x1680u || (c >= 0x2000u && c <= 0x200Au) || c == 0x2028u || c == 0x2029u ||
         c == 0x202Fu || c == 0x205Fu || c == 0x3000u;
}

int decimal_value(char32_t c) noexcept {
  if (!is_decimal(c)) return -1;
  // Digits come in runs of ten that begin with the zero; a range may join several runs.
  const auto* found = std::upper_bound(kDecimal, kDecimal + kDecimalCount, c,
                                       [](char32_t x, const CharRange& r) { return x < r.first; });
  return static_cast<int>((c - (found - 1)->first) % 10);
}

void append_lower(std::string& out, char32_t c) {
  if (append_long(out, kLongLower, kLongLowerCount, c)) return;
  map_case(kToLower, kToLowerCount, c);
  append_utf8(out, c);
}

void append_upper(std::string& out, char32_t c) {
  if (append_long(out, kLongUpper, kLongUpperCount, c)) return;
  map_case(kToUpper, kToUpperCount, c);
  append_utf8(out, c);
}

void append_title(std::string& out, char32_t c) {
  if (append_long(out, kLongTitle, kLongTitleCount, c)) return;
  if (!map_case(kToTitle, kToTitleCount, c)) map_case(kToUpper, kToUpperCount, c);
  append_utf8(out, c);
}

}  // namespace quern::text::jinja
