#include "text/jinja/operators.h"

#include <cmath>
#include <optional>

#include "text/jinja/format.h"
#include "text/jinja/interp.h"
#include "text/jinja/printer.h"

namespace quern::text::jinja {
namespace {

const char* symbol(Operator op) {
  static constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<int>(op)];
}

Error unsupported_operands(Operator op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return language_error(value->undefined_message());
  }
  return language_error(std::string("unsupported operand types for ") + symbol(op) + ": '" +
                        a.type_name() + "' and '" + b.type_name() + "'");
}

Error overflow() { return Error(ErrorCode::kOutOfRange, "an integer does not fit 64 bits"); }

Error division_by_zero() { return language_error("division by zero"); }

/// Quotient and remainder rounded towards minus infinity. \pre b is neither 0 nor (min, -1)
std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

double float_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0.0) {
    if ((b < 0) != (rest < 0)) rest += b;
  } else {
    rest = std::copysign(0.0, b);
  }
  return rest;
}

double float_floor_divide(double a, double b) {
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0.0 && (b < 0) != (rest < 0)) quotient -= 1.0;
  if (quotient == 0.0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1.0 : floored;
}

std::uint64_t magnitude(std::int64_t a) {
  return a < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(a) : static_cast<std::uint64_t>(a);
}

/// The quotient, rounded once. \pre b is not 0
double true_divide(std::int64_t a, std::int64_t b) {
  constexpr std::uint64_t kExact = std::uint64_t{1} << 53;  // Doubles hold all integers up to it.
  std::uint64_t rest = magnitude(a);
  const std::uint64_t divisor = magnitude(b);
  if (rest <= kExact && divisor <= kExact) return static_cast<double>(a) / static_cast<double>(b);
  // Binary digits of the quotient until there are 62, then whether anything is left.
  std::uint64_t quotient = rest / divisor;
  rest %= divisor;
  int digits = 0;
  while (quotient < (std::uint64_t{1} << 61) && digits < 128) {
    const bool carry = rest >= divisor - rest;  // 2 rest >= divisor; rest < divisor.
    rest = carry ? rest - (divisor - rest) : rest + rest;
    quotient = quotient * 2 + (carry ? 1 : 0);
    ++digits;
  }
  const double rounded = std::ldexp(static_cast<double>(quotient | (rest != 0 ? 1 : 0)), -digits);
  return (a < 0) != (b < 0) ? -rounded : rounded;
}

Result<Value> integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return language_error("0 cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow();
  }
  return Value(result);
}

Result<Value> integer_arithmetic(Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  const bool divides =
      op == Operator::kDivide || op == Operator::kFloorDivide || op == Operator::kModulo;
  if (divides && b == 0) return division_by_zero();
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return overflow();
      break;
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return overflow();
      break;
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return overflow();
      break;
    case Operator::kDivide:
      return Value(true_divide(a, b));
    case Operator::kFloorDivide:
      if (b == -1)
        return __builtin_sub_overflow(std::int64_t{0}, a, &result) ? Result<Value>(overflow())
                                                                   : Value(result);
      result = floor_divide(a, b);
      break;
    case Operator::kModulo:
      result = b == -1 ? 0 : a - floor_divide(a, b) * b;
      break;
    default:
      return integer_power(a, b);
  }
  return Value(result);
}

Result<Value> float_arithmetic(Operator op, double a, double b) {
  const bool divides =
      op == Operator::kDivide || op == Operator::kFloorDivide || op == Operator::kModulo;
  if (divides && b == 0.0) return division_by_zero();
  switch (op) {
    case Operator::kAdd:
      return Value(a + b);
    case Operator::kSubtract:
      return Value(a - b);
    case Operator::kMultiply:
      return Value(a * b);
    case Operator::kDivide:
      return Value(a / b);
    case Operator::kFloorDivide:
      return Value(float_floor_divide(a, b));
    case Operator::kModulo:
      return Value(float_modulo(a, b));
    default:
      break;
  }
  if (a == 0.0 && b < 0.0) return language_error("0.0 cannot be raised to a negative power");
  if (a < 0.0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) {
    return Error(ErrorCode::kUnsupported, "complex numbers");
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
    return Error(ErrorCode::kOutOfRange, "a float is too large");
  }
  return Value(result);
}

Result<Value> add_strings(Interp& interp, const Value& a, const Value& b) {
  const bool markup = a.is_markup() || b.is_markup();
  QUERN_TRY(left, markup ? escape(interp, a) : Result<Value>(a));
  QUERN_TRY(right, markup ? escape(interp, b) : Result<Value>(b));
  QUERN_CHECK(interp.spend_bytes(left.text().size() + right.text().size()));
  TextBuilder out(interp.heap());
  out.append(left.text());
  out.append(right.text());
  QUERN_TRY(text, make_string(out));
  return std::move(text).mark_markup(markup);
}

bool both_lists_or_tuples(const Value& a, const Value& b) {
  if (!a.is_sequence() || !b.is_sequence()) return false;
  const Sequence& x = a.sequence();
  const Sequence& y = b.sequence();
  return (x.flavor == Flavor::kList && y.flavor == Flavor::kList) || (x.is_tuple() && y.is_tuple());
}

Result<Value> add_sequences(Interp& interp, const Value& a, const Value& b) {
  std::vector<Value> items = a.sequence().items;
  QUERN_CHECK(interp.spend(items.size() + b.sequence().items.size()));
  items.insert(items.end(), b.sequence().items.begin(), b.sequence().items.end());
  const Flavor flavor = a.sequence().is_tuple() ? Flavor::kTuple : Flavor::kList;
  return make_sequence(interp.heap(), flavor, std::move(items), a.from_user() || b.from_user());
}

Result<Value> repeat_string(Interp& interp, const Value& value, std::int64_t times) {
  TextBuilder out(interp.heap());
  const std::size_t size = value.text().size();
  const auto count = static_cast<std::size_t>(times > 0 && size > 0 ? times : 0);
  if (count > 0 && size > interp.heap().free_bytes() / count) return interp.heap().exhausted();
  QUERN_CHECK(interp.spend_bytes(size * count));
  const Text& text = value.text();
  if (text.runs().size() == 1) {
    std::string bytes = size == 1 ? std::string(count, text.bytes()[0]) : std::string();
    for (bytes.reserve(size * count); bytes.size() < size * count;) bytes += text.bytes();
    out.append(bytes, text.runs().front().trusted);
  } else {
    for (std::size_t i = 0; i < count && !out.failed(); ++i) out.append(text);
  }
  QUERN_TRY(repeated, make_string(out));
  return std::move(repeated).mark_markup(value.is_markup());
}

Result<Value> repeat_sequence(Interp& interp, const Value& value, std::int64_t times) {
  const auto& items = value.sequence().items;
  const auto count = static_cast<std::size_t>(times > 0 && !items.empty() ? times : 0);
  if (count > 0 && items.size() * sizeof(Value) > interp.heap().free_bytes() / count) {
    return interp.heap().exhausted();
  }
  QUERN_CHECK(interp.spend(items.size() * count));
  std::vector<Value> out;
  out.reserve(items.size() * count);
  for (std::size_t i = 0; i < count; ++i) out.insert(out.end(), items.begin(), items.end());
  const Flavor flavor = value.sequence().is_tuple() ? Flavor::kTuple : Flavor::kList;
  return make_sequence(interp.heap(), flavor, std::move(out), value.from_user());
}

/// string * int, list * int and the other way round; nothing if neither.
std::optional<Result<Value>> repeat(Interp& interp, const Value& a, const Value& b) {
  const Value& counted = b.is_integral() ? a : b;
  const Value& times = b.is_integral() ? b : a;
  if (!times.is_integral()) return std::nullopt;
  if (counted.is_string()) return repeat_string(interp, counted, times.as_int());
  if (both_lists_or_tuples(counted, counted))
    return repeat_sequence(interp, counted, times.as_int());
  return std::nullopt;
}

}  // namespace

Result<Value> arithmetic(Interp& interp, Operator op, const Value& a, const Value& b) {
  const bool user = a.from_user() || b.from_user();
  if (a.is_number() && b.is_number()) {
    const bool integers = a.is_integral() && b.is_integral();
    QUERN_TRY(result, integers ? integer_arithmetic(op, a.as_int(), b.as_int())
                               : float_arithmetic(op, a.as_double(), b.as_double()));
    return std::move(result).mark_user(user);
  }
  if (op == Operator::kAdd) {
    if (a.is_string() && b.is_string()) return add_strings(interp, a, b);
    if (both_lists_or_tuples(a, b)) return add_sequences(interp, a, b);
  }
  if (op == Operator::kMultiply) {
    if (auto repeated = repeat(interp, a, b); repeated.has_value()) return std::move(*repeated);
  }
  if (op == Operator::kModulo && a.is_string()) {
    return format_percent(interp, a, b);
  }
  return unsupported_operands(op, a, b);
}

Result<Value> negate(const Value& value) {
  if (value.is_integral()) {
    std::int64_t result = 0;
    if (__builtin_sub_overflow(std::int64_t{0}, value.as_int(), &result)) return overflow();
    return Value(result).mark_user(value.from_user());
  }
  if (value.is(Kind::kFloat)) return Value(-value.as_double()).mark_user(value.from_user());
  if (value.is_undefined()) return language_error(value.undefined_message());
  return language_error("bad operand type for unary -: '" + value.type_name() + "'");
}

Result<Value> escape(Interp& interp, const Value& value) {
  if (value.is_markup()) return value;
  QUERN_TRY(plain, to_str(interp, value));
  const Text& text = plain.text();
  QUERN_CHECK(interp.spend_bytes(text.size()));
  TextBuilder out(interp.heap());
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text.bytes()[at];
    const char* entity = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '"'  ? "&#34;"
                         : c == '\'' ? "&#39;"
                                     : nullptr;
    if (entity == nullptr) continue;
    out.append(text, begin, at);
    out.append(entity, text.trusted_at(at));
    begin = at + 1;
  }
  out.append(text, begin, text.size());
  QUERN_TRY(escaped, make_string(out));
  return std::move(escaped).mark_markup(true);
}

}  // namespace quern::text::jinja
