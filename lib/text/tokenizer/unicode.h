/// \file
/// Character properties and normalization forms. Source: the Unicode Character Database, through
/// utf8proc; what needs it is refused by `unicode_available` where quern was built without.
#pragma once

#include <string>
#include <string_view>

namespace quern::text {

/// \return whether quern was built with utf8proc.
bool unicode_available() noexcept;

/// White_Space; needs no library.
bool is_space(char32_t c) noexcept;
/// What Rust's `\w` and Unicode call a word character: Alphabetic, M, Nd, Pc, the joiners.
bool is_word(char32_t c) noexcept;
bool is_number(char32_t c) noexcept;           ///< N
bool is_decimal_digit(char32_t c) noexcept;    ///< Nd
bool is_punctuation(char32_t c) noexcept;      ///< P, or ASCII punctuation.
bool is_other(char32_t c) noexcept;            ///< C, but for unassigned ones.
bool is_mark(char32_t c) noexcept;             ///< M
bool is_nonspacing_mark(char32_t c) noexcept;  ///< Mn
bool is_cjk_ideograph(char32_t c) noexcept;    ///< The blocks that BERT sets apart.

/// Appends the full lower-case mapping, without context.
void append_lowercase(std::string& out, char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
/// Source: Unicode Standard Annex 15. Time is linear up to sorting runs of marks.
std::string normalize(std::string_view text, NormalForm form);

/// \return the end of the extended grapheme cluster that begins at `at`.
/// Source: Unicode Standard Annex 29.
std::size_t grapheme_end(std::string_view text, std::size_t at) noexcept;

}  // namespace quern::text
