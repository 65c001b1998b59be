/// \file
/// Formatting of strings: `%`, str.format and the format specifications of numbers and strings.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace quern::text::jinja {

/// `format % operand` (Python's printf-style formatting). The operand is a tuple of values, a
/// mapping for `%(name)s`, or one value.
Result<Value> format_percent(Interp& interp, const Value& format, const Value& operand);
/// `format.format(*args)`: fields `{}`, `{0}`, `{name}`, `{a.b[c]!r:>8}`.
Result<Value> format_braces(Interp& interp, const Value& format, const Args& args);
/// `format(value, spec)`. What it fills in is trusted if the specification is.
Result<Value> format_value(Interp& interp, const Value& value, std::string_view spec,
                           bool trusted_spec);

/// How a number is written: shared by both kinds of formatting.
struct NumberStyle {
  char type = 'd';  ///< d x X o b, or e E f F g G %
  int precision = -1;
  bool alternate = false;
  char sign = '-';  ///< '+', ' ' or '-'
};
/// \return digits with sign and prefix; `prefix` receives the length of both.
Result<std::string> format_integer(std::int64_t number, const NumberStyle& style,
                                   std::size_t& prefix);
Result<std::string> format_float(double number, const NumberStyle& style, std::size_t& prefix);

/// Longest width or precision that is accepted.
inline constexpr int kMaxFormatWidth = 1 << 20;

}  // namespace quern::text::jinja
