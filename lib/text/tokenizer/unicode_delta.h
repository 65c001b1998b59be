/// \file
/// Where the tables of the `tokenizers` library differ from utf8proc's. Ids must agree with the
/// library, so its view counts. Established by asking the library (0.23.3) about every code point.
#pragma once

#include <cstdint>

namespace quern::text {

// 1 and 0: the library's answer; -1: as utf8proc says.
int library_punctuation(char32_t c) noexcept;
int library_nonspacing_mark(char32_t c) noexcept;
int library_mark(char32_t c) noexcept;
bool is_no_library_other(char32_t c) noexcept;
bool is_library_number(char32_t c) noexcept;
bool is_library_word(char32_t c) noexcept;
/// Characters that its normalization forms leave as they are.
bool is_kept_by_library(char32_t c) noexcept;
/// Characters of combining class 0 that compose with nothing there, whatever utf8proc says.
bool is_library_starter(char32_t c) noexcept;
/// Characters that never end a run of one script.
bool is_without_library_script(char32_t c) noexcept;
/// \return the mapping, or 0 where utf8proc's is right.
char32_t library_lowercase(char32_t c) noexcept;

}  // namespace quern::text
