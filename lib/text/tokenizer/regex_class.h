/// \file
/// Escapes and bracketed classes of Oniguruma. Private to the translator.
#pragma once

#include <string>
#include <string_view>

#include "quern/result.h"

namespace quern::text {

Error regex_error(const char* message, std::string_view pattern);
/// PCRE2 means something else by the escape at `at`.
Error foreign_escape(std::string_view pattern, std::size_t at);

/// What an escape means. Exactly one of `members`, `word_boundary`, `verbatim`, `is_foreign` is
/// set.
struct RegexEscape {
  std::size_t bytes = 0;
  std::string members;   ///< Class members that match it…
  bool negated = false;  ///< …or, negated, that it does not match.
  bool word_boundary = false;
  std::string verbatim;     ///< PCRE2 writes it so.
  bool is_foreign = false;  ///< PCRE2 cannot say it.
};

/// Reads the escape at `at` (a backslash with something after it).
RegexEscape read_regex_escape(std::string_view in, std::size_t at, bool in_class);

/// Translates the bracketed class at `at` (its `[`) and moves `at` behind it. Nested classes and
/// intersections become lookaheads over single characters.
Result<std::string> translate_class(std::string_view in, std::size_t& at, int depth);

}  // namespace quern::text
