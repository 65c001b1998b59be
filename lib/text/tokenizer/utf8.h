/// \file
/// UTF-8, one character at a time. Source: Unicode 15, section 3.9 (table 3-7; maximal subparts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quern::text {

struct Char {
  char32_t code = 0;
  std::size_t bytes = 0;  ///< 0 at the end of the text.
  bool valid = true;      ///< false: `bytes` is the length of the ill-formed subpart.
};

/// Decodes the character at `at`. Ill-formed bytes give U+FFFD and valid = false; a subpart that is
/// cut off by the end of the text has its remaining length.
Char decode_char(std::string_view text, std::size_t at) noexcept;

/// \return whether the bytes at `at` are the beginning of a character that the text ends within.
bool is_cut_off(std::string_view text, std::size_t at) noexcept;

void append_char(std::string& out, char32_t code);

/// \return the index of the first ill-formed byte, or npos.
std::size_t find_invalid(std::string_view text) noexcept;

/// Appends `text`, each ill-formed maximal subpart as U+FFFD.
void append_lossy(std::string& out, std::string_view text);

/// Number of characters of a valid text.
std::size_t count_chars(std::string_view text) noexcept;

}  // namespace quern::text
