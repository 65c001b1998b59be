// printf-style formatting. Source: Python's library reference, "printf-style String Formatting".
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "text/jinja/format.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(Interp& interp, const Value& format, const Value& operand)
      : interp_(interp),
        format_(format),
        text_(format.text()),
        operand_(operand),
        out_(interp.heap()) {}

  Result<Value> run() {
    QUERN_CHECK(interp_.spend_bytes(text_.size()));
    const std::string& bytes = text_.bytes();
    std::size_t plain = 0;
    for (at_ = bytes.find('%'); at_ != std::string::npos; at_ = bytes.find('%', at_)) {
      out_.append(text_, plain, at_);
      begin_ = at_++;
      QUERN_CHECK(field());
      plain = at_;
    }
    out_.append(text_, plain, text_.size());
    const bool sequence = operand_.is_sequence() && operand_.sequence().is_tuple();
    const bool unused = sequence ? next_ < operand_.sequence().items.size()
                                 : next_ == 0 && !operand_.is_map() && !operand_.is_sequence() &&
                                       !operand_.is_undefined();
    if (unused) return language_error("not all arguments converted during string formatting");
    QUERN_TRY(result, make_string(out_));
    return std::move(result).mark_markup(format_.is_markup());
  }

 private:
  struct Field {
    bool left = false;
    bool zero = false;
    int width = 0;
    NumberStyle number;
  };

  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_.bytes()[at_]; }

  Result<Value> next_argument() {
    if (keyed_.has_value()) return *keyed_;
    if (!operand_.is_sequence() || !operand_.sequence().is_tuple()) {
      if (next_++ > 0) return language_error("not enough arguments for format string");
      return operand_;
    }
    const auto& items = operand_.sequence().items;
    if (next_ >= items.size()) return language_error("not enough arguments for format string");
    return items[next_++];
  }

  Status key() {
    keyed_.reset();
    if (peek() != '(') return {};
    int open = 1;
    const std::size_t begin = ++at_;
    for (; !at_end(); ++at_) {
      open += peek() == '(' ? 1 : peek() == ')' ? -1 : 0;
      if (open == 0) break;
    }
    if (at_end()) return language_error("incomplete format key");
    if (!operand_.is_map()) return language_error("format requires a mapping");
    const std::string_view name = std::string_view(text_.bytes()).substr(begin, at_ - begin);
    ++at_;
    const Value* found = operand_.map().find(name);
    if (found == nullptr) return language_error("the format key is not in the mapping");
    keyed_ = *found;
    return {};
  }

  Result<int> count() {
    if (peek() == '*') {
      ++at_;
      QUERN_TRY(value, next_argument());
      if (!value.is_integral()) return language_error("* wants int");
      if (value.as_int() > kMaxFormatWidth || value.as_int() < -kMaxFormatWidth) return too_wide();
      return static_cast<int>(value.as_int());
    }
    int number = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      number = number * 10 + (peek() - '0');
      if (number > kMaxFormatWidth) return too_wide();
    }
    return number;
  }

  static Error too_wide() { return Error(ErrorCode::kLimit, "a format field is too wide"); }

  Status field() {
    if (peek() == '%') {
      out_.append(text_, at_, at_ + 1);
      ++at_;
      return {};
    }
    QUERN_CHECK(key());
    Field f;
    for (; std::string_view("-+ #0").find(peek()) != std::string_view::npos && !at_end(); ++at_) {
      f.left |= peek() == '-';
      f.zero |= peek() == '0';
      f.number.alternate |= peek() == '#';
      if (peek() == '+' || (peek() == ' ' && f.number.sign != '+')) f.number.sign = peek();
    }
    QUERN_TRY(width, count());
    f.left |= width < 0;
    f.width = std::abs(width);
    if (peek() == '.') {
      ++at_;
      QUERN_TRY(precision, count());
      f.number.precision = std::max(precision, 0);
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    if (at_end()) return language_error("incomplete format");
    f.number.type = text_.bytes()[at_++];
    if (f.number.type == '%') {
      out_.append("%", text_.trusted_at(begin_));
      return {};
    }
    QUERN_TRY(value, next_argument());
    return write(f, value);
  }

  Status write(Field& f, const Value& value) {
    switch (f.number.type) {
      case 's':
      case 'r':
        return write_text(f, value);
      case 'c':
        return write_character(f, value);
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return write_integer(f, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return write_float(f, value);
      case 'a':
        return Error(ErrorCode::kUnsupported, "the format %a is not supported");
      default:
        return language_error("unsupported format character");
    }
  }

  void pad(std::size_t length, const Field& f, bool before, char fill = ' ') {
    const auto width = static_cast<std::size_t>(f.width);
    if (before == f.left || length >= width) return;
    out_.append(std::string(width - length, fill), text_.trusted_at(begin_));
  }

  Status write_text(const Field& f, const Value& value) {
    Value shown = value;
    if (f.number.type == 'r') {
      TextBuilder builder(interp_.heap());
      QUERN_CHECK(append_repr(interp_, builder, value));
      QUERN_TRY(text, make_string(builder));
      shown = std::move(text);
    }
    QUERN_TRY(text, format_.is_markup() ? escape(interp_, shown) : to_str(interp_, shown));
    const auto precision = static_cast<std::size_t>(f.number.precision);
    const std::size_t length =
        f.number.precision < 0 ? text.text().length() : std::min(precision, text.text().length());
    pad(length, f, true);
    out_.append(text.text(), 0, text.text().offset_of(length));
    pad(length, f, false);
    return {};
  }

  Status write_character(const Field& f, const Value& value) {
    if (value.is_string() && value.text().length() == 1) {
      pad(1, f, true);
      out_.append(value.text());
      pad(1, f, false);
      return {};
    }
    if (!value.is(Kind::kInt) || value.as_int() < 0 || value.as_int() > 0x10FFFF ||
        (value.as_int() >= 0xD800 && value.as_int() <= 0xDFFF)) {
      return language_error("%c requires int or char");
    }
    std::string character;
    append_utf8(character, static_cast<char32_t>(value.as_int()));
    pad(1, f, true);
    out_.append(character, !value.from_user());
    pad(1, f, false);
    return {};
  }

  Status write_integer(const Field& f, const Value& value) {
    if (!value.is_number() || (f.number.type != 'd' && f.number.type != 'i' &&
                               f.number.type != 'u' && !value.is_integral())) {
      return language_error("the format needs an integer, not " + value.type_name());
    }
    std::int64_t number = 0;
    if (value.is_integral()) {
      number = value.as_int();
    } else {
      if (!(std::abs(value.as_double()) < 9.2e18))
        return Error(ErrorCode::kOutOfRange, "an integer does not fit 64 bits");
      number = static_cast<std::int64_t>(value.as_double());
    }
    std::size_t prefix = 0;
    QUERN_TRY(digits, format_integer(number, f.number, prefix));
    write_number(f, digits, prefix, !value.from_user());
    return {};
  }

  Status write_float(const Field& f, const Value& value) {
    if (!value.is_number()) return language_error("must be real number, not " + value.type_name());
    std::size_t prefix = 0;
    QUERN_TRY(digits, format_float(value.as_double(), f.number, prefix));
    write_number(f, digits, prefix, !value.from_user());
    return {};
  }

  void write_number(const Field& f, std::string& digits, std::size_t prefix, bool trusted) {
    const auto width = static_cast<std::size_t>(f.width);
    if (f.zero && !f.left && digits.size() < width)
      digits.insert(prefix, width - digits.size(), '0');
    pad(digits.size(), f, true);
    out_.append(digits, trusted);
    pad(digits.size(), f, false);
  }

  Interp& interp_;
  const Value& format_;
  const Text& text_;
  const Value& operand_;
  TextBuilder out_;
  std::size_t at_ = 0;
  std::size_t begin_ = 0;
  std::size_t next_ = 0;
  std::optional<Value> keyed_;
};

}  // namespace

Result<Value> format_percent(Interp& interp, const Value& format, const Value& operand) {
  return PercentFormatter(interp, format, operand).run();
}

}  // namespace quern::text::jinja
