// The escapes of string literals: those of Python ("String and Bytes literals" of its reference).
#include <string>

#include "text/jinja/lexer.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// Reads exactly `digits` hexadecimal digits at `at`.
Result<char32_t> read_hex(std::string_view text, std::size_t at, std::size_t digits) {
  char32_t value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const int digit = at + i < text.size() ? hex_value(text[at + i]) : -1;
    if (digit < 0) return Error(ErrorCode::kMalformed, "a truncated escape in a string");
    value = value * 16 + static_cast<char32_t>(digit);
  }
  if (value > 0x10FFFFu) return Error(ErrorCode::kMalformed, "an escape beyond Unicode");
  if (value >= 0xD800u && value <= 0xDFFFu) {
    return Error(ErrorCode::kUnsupported, "a surrogate in a string");
  }
  return value;
}

/// \return the character of a one-letter escape, or 0.
char simple_escape(char c) {
  switch (c) {
    case '\\':
    case '\'':
    case '"':
      return c;
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    default:
      return '\0';
  }
}

}  // namespace

Result<std::string> unescape(std::string_view literal) {
  std::string out;
  out.reserve(literal.size());
  for (std::size_t at = 0; at < literal.size();) {
    if (literal[at] != '\\' || at + 1 == literal.size()) {
      out.push_back(literal[at++]);
      continue;
    }
    const char c = literal[at + 1];
    at += 2;
    if (const char simple = simple_escape(c); simple != '\0') {
      out.push_back(simple);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      QUERN_TRY(code_point, read_hex(literal, at, digits));
      append_utf8(out, code_point);
      at += digits;
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      const std::size_t stop = at + 2;  // One digit is read, two more may follow.
      for (--at; at < stop && at < literal.size() && literal[at] >= '0' && literal[at] <= '7';
           ++at) {
        value = value * 8 + static_cast<char32_t>(literal[at] - '0');
      }
      append_utf8(out, value);
    } else if (c == 'N') {
      return Error(ErrorCode::kUnsupported, "\\N{...} in a string");
    } else if (c != '\n') {  // An escaped line end vanishes; an unknown escape stays as written.
      out.push_back('\\');
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace quern::text::jinja
