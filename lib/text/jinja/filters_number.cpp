// Filters on numbers.
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>

#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_ops.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

Error too_large() { return Error(ErrorCode::kOutOfRange, "an integer does not fit 64 bits"); }

/// ASCII digits for all decimal digits of Unicode, white space at the ends dropped.
std::string plain_digits(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = decode_next(text, at);
    const int digit = decimal_value(c);
    if (digit >= 0)
      out.push_back(static_cast<char>('0' + digit));
    else
      append_utf8(out, is_space(c) ? U' ' : c);
  }
  const std::size_t begin = out.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return out.substr(begin, out.find_last_not_of(' ') - begin + 1);
}

/// Drops single underscores between digits. \return nothing for misplaced ones.
std::optional<std::string> without_underscores(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
      continue;
    }
    const bool between = i > 0 && i + 1 < text.size() && text[i - 1] != '_' && text[i + 1] != '_' &&
                         is_alnum(static_cast<unsigned char>(text[i - 1])) &&
                         is_alnum(static_cast<unsigned char>(text[i + 1]));
    if (!between) return std::nullopt;
  }
  return out;
}

/// Python's int(text, base): nothing where the text is no integer, an error beyond 64 bits.
Result<std::optional<std::int64_t>> parse_integer(std::string_view text, int base) {
  using Parsed = std::optional<std::int64_t>;
  const auto clean = without_underscores(plain_digits(text));
  if (!clean.has_value()) return Parsed();
  std::string_view digits = *clean;
  const bool negative = !digits.empty() && digits[0] == '-';
  if (negative || (!digits.empty() && digits[0] == '+')) digits.remove_prefix(1);
  if (digits.size() > 2 && digits[0] == '0') {
    const char mark = static_cast<char>(digits[1] | 0x20);
    const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) {
      digits.remove_prefix(2);
      base = marked;
    }
  }
  if (base == 0) {
    const bool zeros = digits.find_first_not_of('0') == std::string_view::npos;
    if (digits.size() > 1 && digits[0] == '0' && !zeros) return Parsed();
    base = 10;
  }
  if (digits.empty() || digits[0] == '-' || digits[0] == '+') return Parsed();
  const std::string with_sign = (negative ? "-" : "") + std::string(digits);
  std::int64_t number = 0;
  const auto parsed =
      std::from_chars(with_sign.data(), with_sign.data() + with_sign.size(), number, base);
  if (parsed.ptr != with_sign.data() + with_sign.size()) return Parsed();
  if (parsed.ec == std::errc::result_out_of_range) return too_large();
  return parsed.ec == std::errc() ? Parsed(number) : Parsed();
}

/// Python's float(text).
std::optional<double> parse_float(std::string_view text) {
  const auto clean = without_underscores(plain_digits(text));
  if (!clean.has_value() || clean->empty()) return std::nullopt;
  std::string_view digits = *clean;
  const bool negative = digits[0] == '-';
  if (negative || digits[0] == '+') digits.remove_prefix(1);
  if (digits.empty() || digits[0] == '-' || digits[0] == '+') return std::nullopt;
  std::string lower;
  for (const char c : digits)
    lower.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c);
  double number = 0;
  if (lower == "inf" || lower == "infinity") {
    number = std::numeric_limits<double>::infinity();
  } else if (lower == "nan") {
    number = std::numeric_limits<double>::quiet_NaN();
  } else {
    if (lower.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
    const auto parsed = std::from_chars(lower.data(), lower.data() + lower.size(), number);
    if (parsed.ptr != lower.data() + lower.size() || parsed.ec == std::errc::invalid_argument)
      return std::nullopt;
    if (parsed.ec == std::errc::result_out_of_range) {
      const std::size_t exponent = lower.find('e');
      const bool tiny = exponent != std::string::npos && lower.compare(exponent + 1, 1, "-") == 0;
      number = tiny ? 0.0 : std::numeric_limits<double>::infinity();
    }
  }
  return negative ? -number : number;
}

/// int(float): nothing for NaN and infinity.
Result<std::optional<std::int64_t>> truncate(double number) {
  using Truncated = std::optional<std::int64_t>;
  if (!std::isfinite(number)) return Truncated();
  if (!(std::fabs(number) < 9223372036854775808.0)) return too_large();
  return Truncated(static_cast<std::int64_t>(number));
}

Result<Value> filter_int(Call& call) {
  const Value& self = call.self;
  if (self.is_undefined()) return language_error(self.undefined_message());
  const Value otherwise = call.args[0].has_value() ? call[0] : Value(std::int64_t{0});
  if (self.is_integral()) return Value(self.as_int()).mark_user(self.from_user());
  std::optional<std::int64_t> number;
  if (self.is(Kind::kFloat)) {
    if (std::isinf(self.as_double())) return otherwise;
    QUERN_TRY(whole, truncate(self.as_double()));
    number = whole;
  } else if (self.is_string()) {
    QUERN_TRY(base, call.integer(1, 10));
    if (base != 0 && (base < 2 || base > 36)) return call.bad_argument(1, "0 or 2 to 36");
    QUERN_CHECK(call.interp.spend_bytes(self.text().size()));
    QUERN_TRY(parsed, parse_integer(self.str(), static_cast<int>(base)));
    number = parsed;
    if (const auto real = parse_float(self.str()); !number.has_value() && real.has_value()) {
      QUERN_TRY(whole, truncate(*real));
      number = whole;
    }
  }
  if (!number.has_value()) return otherwise;
  return Value(*number).mark_user(!self.is_string() ? self.from_user() : !self.text().trusted());
}

Result<Value> filter_float(Call& call) {
  const Value& self = call.self;
  if (self.is_undefined()) return language_error(self.undefined_message());
  if (self.is_number()) return Value(self.as_double()).mark_user(self.from_user());
  if (self.is_string()) {
    QUERN_CHECK(call.interp.spend_bytes(self.text().size()));
    if (const auto number = parse_float(self.str()); number.has_value()) {
      return Value(*number).mark_user(!self.text().trusted());
    }
  }
  return call.args[0].has_value() ? call[0] : Value(0.0);
}

Result<Value> filter_abs(Call& call) {
  const Value& self = call.self;
  if (self.is_undefined()) return language_error(self.undefined_message());
  if (self.is(Kind::kFloat)) return Value(std::fabs(self.as_double())).mark_user(self.from_user());
  if (!self.is_integral())
    return language_error("bad operand type for abs(): '" + self.type_name() + "'");
  if (self.as_int() < 0) return negate(self);
  return Value(self.as_int()).mark_user(self.from_user());
}

/// Rounds to `digits` decimals, half to even as correctly rounded decimal text has it.
double round_decimals(double number, int digits) {
  char buffer[400];
  const auto written =
      std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::fixed, digits);
  double rounded = number;
  std::from_chars(buffer, written.ptr, rounded);
  return rounded;
}

Result<Value> round_common(const Value& self, std::int64_t precision) {
  if (self.is_integral()) {
    if (precision >= 0) return Value(self.as_int());
    if (precision < -18) return Value(std::int64_t{0});
    std::int64_t unit = 1;
    for (std::int64_t i = precision; i < 0; ++i) unit *= 10;
    const std::int64_t rest = ((self.as_int() % unit) + unit) % unit;
    std::int64_t low = 0;
    if (__builtin_sub_overflow(self.as_int(), rest, &low)) return too_large();
    const bool up = rest > unit - rest || (rest == unit - rest && (low / unit) % 2 != 0);
    std::int64_t rounded = low;
    if (up && __builtin_add_overflow(low, unit, &rounded)) return too_large();
    return Value(rounded);
  }
  const double number = self.as_double();
  if (!std::isfinite(number) || precision > 330) return Value(number);
  if (precision >= 0) return Value(round_decimals(number, static_cast<int>(precision)));
  if (precision < -308) return Value(std::copysign(0.0, number));
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return Value(std::nearbyint(number / unit) * unit);
}

Result<Value> filter_round(Call& call) {
  const Value& self = call.self;
  if (self.is_undefined()) return language_error(self.undefined_message());
  QUERN_TRY(precision, call.integer(0, 0));
  std::string method = "common";
  if (call.args[1].has_value()) {
    QUERN_TRY(word, call.string(1));
    method = word->bytes();
  }
  if (method != "common" && method != "ceil" && method != "floor") {
    return language_error("method must be common, ceil or floor");
  }
  if (!self.is_number())
    return language_error("'round' needs a number, not '" + self.type_name() + "'");
  if (method == "common") {
    QUERN_TRY(rounded, round_common(self, precision));
    return std::move(rounded).mark_user(self.from_user());
  }
  if (!std::isfinite(self.as_double()))
    return language_error("cannot round an infinity or NaN to an integer");
  const double unit = std::pow(10.0, static_cast<double>(precision));
  if (self.is_integral() && precision >= 0) {
    return Value(self.as_double()).mark_user(self.from_user());
  }
  const double scaled = self.as_double() * unit;
  if (!std::isfinite(scaled)) return language_error("cannot round an infinity to an integer");
  // Python goes through an integer, which has no negative zero.
  const double whole = (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0;
  return Value(whole / unit).mark_user(self.from_user());
}

constexpr Builtin kFilters[] = {
    {"int", "default? base?", filter_int},
    {"float", "default?", filter_float},
    {"abs", "", filter_abs},
    {"round", "precision? method?", filter_round},
};

}  // namespace

Table number_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace quern::text::jinja
