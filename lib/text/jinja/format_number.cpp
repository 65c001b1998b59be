// Numbers as text, in the notations of Python's format specifications.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/printer.h"

namespace quern::text::jinja {
namespace {

void to_upper_ascii(std::string& text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
}

std::string sign_of(bool negative, char style) {
  if (negative) return "-";
  return style == '-' ? "" : std::string(1, style);
}

std::string float_digits(double magnitude, char type, int precision) {
  if (std::isinf(magnitude)) return "inf";
  if (std::isnan(magnitude)) return "nan";
  const auto form = type == 'e'   ? std::chars_format::scientific
                    : type == 'g' ? std::chars_format::general
                                  : std::chars_format::fixed;
  std::string buffer(static_cast<std::size_t>(precision) + 400, '\0');
  const auto written =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, form, precision);
  buffer.resize(static_cast<std::size_t>(written.ptr - buffer.data()));
  return buffer;
}

}  // namespace

Result<std::string> format_integer(std::int64_t number, const NumberStyle& style,
                                   std::size_t& prefix) {
  const bool negative = number < 0;
  const auto magnitude =
      negative ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  const int base = style.type == 'x' || style.type == 'X' ? 16
                   : style.type == 'o'                    ? 8
                   : style.type == 'b'                    ? 2
                                                          : 10;
  char buffer[65];
  const auto written = std::to_chars(buffer, buffer + sizeof(buffer), magnitude, base);
  std::string digits(buffer, written.ptr);
  const auto wanted = static_cast<std::size_t>(std::max(style.precision, 0));
  if (digits.size() < wanted) digits.insert(0, wanted - digits.size(), '0');
  std::string head = sign_of(negative, style.sign);
  if (style.alternate && base != 10) head += base == 16 ? "0x" : base == 8 ? "0o" : "0b";
  prefix = head.size();
  std::string text = head + digits;
  if (style.type == 'X') to_upper_ascii(text);
  return text;
}

Result<std::string> format_float(double number, const NumberStyle& style, std::size_t& prefix) {
  if (style.alternate) return Error(ErrorCode::kUnsupported, "the format flag '#' for a float");
  const bool negative = std::signbit(number) && !std::isnan(number);
  double magnitude = std::fabs(number);
  int precision = style.precision < 0 ? 6 : style.precision;
  const char lower = static_cast<char>(style.type | 0x20);
  if (style.type == '%') magnitude *= 100.0;
  if (lower == 'g') precision = std::max(precision, 1);
  const std::string head = sign_of(negative, style.sign);
  std::string text = head + float_digits(magnitude, lower, precision);
  if (style.type == '%') text += "%";
  if (style.type != lower && style.type != '%') to_upper_ascii(text);
  prefix = head.size();
  return text;
}

}  // namespace quern::text::jinja
