/// \file
/// What Python's str knows of Unicode: code points, classes of characters, changes of case.
/// Source of the tables: the Unicode Character Database, version 14 (that of CPython 3.11).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quern::text::jinja {

/// \return bytes of the UTF-8 sequence at `at` (1…4, never past the end); 1 for a stray byte.
std::size_t sequence_length(std::string_view text, std::size_t at) noexcept;
/// \return the code point at `at`, advancing `at`; U+FFFD for a stray byte.
char32_t decode_next(std::string_view text, std::size_t& at) noexcept;
/// \return the number of code points.
std::size_t count_code_points(std::string_view text) noexcept;
void append_utf8(std::string& out, char32_t code_point);

bool is_alpha(char32_t c) noexcept;
/// As str.isdigit; `is_numeric_class` as str.isnumeric, `is_decimal` as str.isdecimal.
bool is_digit(char32_t c) noexcept;
bool is_decimal(char32_t c) noexcept;
bool is_numeric_class(char32_t c) noexcept;
bool is_space(char32_t c) noexcept;
bool is_printable(char32_t c) noexcept;
bool is_lower(char32_t c) noexcept;
bool is_upper(char32_t c) noexcept;
bool is_title(char32_t c) noexcept;
inline bool is_alnum(char32_t c) noexcept {
  return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric_class(c);
}
/// \return the decimal value of a digit character, or -1.
int decimal_value(char32_t c) noexcept;

/// Full case mappings: one code point may become up to three, appended to `out`.
void append_lower(std::string& out, char32_t c);
void append_upper(std::string& out, char32_t c);
void append_title(std::string& out, char32_t c);

}  // namespace quern::text::jinja
