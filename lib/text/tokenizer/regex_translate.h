/// \file
/// Oniguruma's (Ruby) syntax, in which tokenizers write their patterns, as PCRE2's.
#pragma once

#include <string>
#include <string_view>

#include "quern/result.h"

namespace quern::text {

/// Unicode White_Space, as members of a PCRE2 character class.
extern const char* const kSpaceClass;
/// What `\w` matches within a class, as members of a PCRE2 class (without U+200C, U+200D).
extern const char* const kWordClass;
/// What a lone `\w` and `\b` take for word characters: Oniguruma's table for Latin-1 has the
/// superscripts and fractions as well.
extern const char* const kLoneWordClass;

/// \return a PCRE2 pattern (for UTF, UCP, multiline) that matches the same.
/// Errors: kMalformed (brackets that do not close, a lone backslash), kLimit (nesting).
Result<std::string> translate_regex(std::string_view pattern);

/// Unicode script names that `\p{…}` knows, ended by nullptr.
extern const char* const kScriptNames[];

}  // namespace quern::text
