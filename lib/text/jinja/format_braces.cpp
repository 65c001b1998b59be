// str.format and format specifications. Source: Python's library reference, "Format String Syntax".
#include <algorithm>
#include <charconv>
#include <optional>

#include "text/jinja/access.h"
#include "text/jinja/format.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

struct Spec {
  std::string fill = " ";
  char align = '\0';
  char grouping = '\0';
  bool zero = false;
  std::size_t width = 0;
  char type = '\0';
  NumberStyle number;
};

/// Reads a specification from front to back.
class SpecReader {
 public:
  explicit SpecReader(std::string_view text) : text_(text) {}

  Result<Spec> read() {
    Spec spec;
    read_align(spec);
    if (const char c = take_any("+- "); c != '\0') spec.number.sign = c;
    if (take_any("z") != '\0') return Error(ErrorCode::kUnsupported, "the format option 'z'");
    spec.number.alternate = take_any("#") != '\0';
    if (take_any("0") != '\0') {
      spec.zero = spec.align == '\0';
      if (spec.zero) spec.fill = "0";
    }
    QUERN_TRY(width, read_number());
    spec.width = static_cast<std::size_t>(std::max(width, 0));
    spec.grouping = take_any(",_");
    if (take_any(".") != '\0') {
      QUERN_TRY(precision, read_number());
      if (precision < 0) return language_error("format specifier missing precision");
      spec.number.precision = precision;
    }
    if (at_ < text_.size()) spec.type = text_[at_++];
    if (at_ != text_.size()) return language_error("invalid format specifier");
    return spec;
  }

 private:
  static bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

  void read_align(Spec& spec) {
    if (text_.empty()) return;
    const std::size_t first = sequence_length(text_, 0);
    if (first < text_.size() && is_align(text_[first])) {
      spec.fill = std::string(text_.substr(0, first));
      spec.align = text_[first];
      at_ = first + 1;
    } else if (is_align(text_[0])) {
      spec.align = text_[0];
      at_ = 1;
    }
  }

  char take_any(std::string_view set) {
    if (at_ >= text_.size() || set.find(text_[at_]) == std::string_view::npos) return '\0';
    return text_[at_++];
  }

  /// \return the digits as a number, or -1 where there are none.
  Result<int> read_number() {
    int number = -1;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      number = std::max(number, 0) * 10 + (text_[at_] - '0');
      if (number > kMaxFormatWidth) return Error(ErrorCode::kLimit, "a format field is too wide");
    }
    return number;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// Inserts `separator` between groups of `size` digits of the integral part after `prefix`.
void group_digits(std::string& digits, std::size_t prefix, char separator, std::size_t size) {
  std::size_t end = prefix;
  const auto is_digit_char = [size](char c) {
    return (c >= '0' && c <= '9') || (size == 4 && (c | 0x20) >= 'a' && (c | 0x20) <= 'f');
  };
  while (end < digits.size() && is_digit_char(digits[end])) ++end;
  for (std::size_t at = end; at > prefix + size; at -= size) {
    digits.insert(at - size, 1, separator);
  }
}

/// Pads `text` (its `length` in code points) to the width.
Result<Value> pad(Interp& interp, const Value& text, const Spec& spec, char align, bool trusted) {
  const std::size_t length = text.text().length();
  const std::size_t missing = spec.width > length ? spec.width - length : 0;
  const std::size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  TextBuilder out(interp.heap());
  for (std::size_t i = 0; i < before; ++i) out.append(spec.fill, trusted);
  out.append(text.text());
  for (std::size_t i = before; i < missing; ++i) out.append(spec.fill, trusted);
  return make_string(out);
}

Result<Value> format_number(Interp& interp, const Value& value, Spec spec, bool trusted_spec) {
  std::size_t prefix = 0;
  std::string digits;
  const std::string_view float_types = "eEfFgG%";
  const bool as_float =
      value.is(Kind::kFloat) ||
      (spec.type != '\0' && float_types.find(spec.type) != std::string_view::npos);
  if (as_float && spec.type == '\0') {
    if (spec.number.precision >= 0)
      return Error(ErrorCode::kUnsupported, "a precision without a type for a float");
    digits = float_repr(value.as_double());
    prefix = digits[0] == '-' ? 1 : 0;
    if (prefix == 0 && spec.number.sign != '-') {
      digits.insert(0, 1, spec.number.sign);
      prefix = 1;
    }
  } else if (as_float) {
    if (float_types.find(spec.type) == std::string_view::npos)
      return language_error("unknown format code for a float");
    spec.number.type = spec.type;
    QUERN_TRY(written, format_float(value.as_double(), spec.number, prefix));
    digits = std::move(written);
  } else {
    if (spec.number.precision >= 0)
      return language_error("precision not allowed in integer format specifier");
    const char type = spec.type == '\0' ? 'd' : spec.type;
    if (std::string_view("dxXob").find(type) == std::string_view::npos) {
      return type == 'c' || type == 'n'
                 ? Error(ErrorCode::kUnsupported, "this format code for an integer")
                 : language_error("unknown format code for an integer");
    }
    spec.number.type = type;
    QUERN_TRY(written, format_integer(value.as_int(), spec.number, prefix));
    digits = std::move(written);
  }
  const bool decimal = as_float || spec.number.type == 'd';
  if (spec.grouping == ',' && !decimal)
    return language_error("cannot specify ',' with this format code");
  if (spec.grouping != '\0') {
    if (spec.zero || spec.align == '=')
      return Error(ErrorCode::kUnsupported, "grouping together with zero padding");
    group_digits(digits, prefix, spec.grouping, decimal ? 3 : 4);
  }
  const bool inner = spec.zero || spec.align == '=';
  if (inner && digits.size() < spec.width) {
    const std::size_t missing = spec.width - digits.size();
    std::string fill;
    for (std::size_t i = 0; i < missing; ++i) fill += spec.fill;
    digits.insert(prefix, fill);
  }
  const bool trusted = trusted_spec && !value.from_user();
  QUERN_TRY(text, make_string(interp.heap(), digits, trusted));
  return pad(interp, text, spec, spec.align == '\0' || inner ? '>' : spec.align, trusted);
}

}  // namespace

Result<Value> format_value(Interp& interp, const Value& value, std::string_view text,
                           bool trusted_spec) {
  if (text.empty()) return to_str(interp, value);
  QUERN_TRY(spec, SpecReader(text).read());
  const bool plain_bool = value.is(Kind::kBool) && spec.type == '\0';
  if (value.is_number() && !plain_bool)
    return format_number(interp, value, std::move(spec), trusted_spec);
  if (!value.is_string() && !plain_bool) {
    return language_error("unsupported format string passed to " + value.type_name());
  }
  if (plain_bool) return Error(ErrorCode::kUnsupported, "a format specification for a boolean");
  if ((spec.type != '\0' && spec.type != 's') || spec.number.sign != '-' || spec.number.alternate ||
      spec.grouping != '\0' || spec.align == '=') {
    return language_error("invalid format specifier for a string");
  }
  Value shown = value;
  if (spec.number.precision >= 0) {
    QUERN_TRY(cut, substring(interp, value, 0, static_cast<std::size_t>(spec.number.precision)));
    shown = std::move(cut);
  }
  return pad(interp, shown, spec, spec.align == '\0' ? '<' : spec.align, trusted_spec);
}

namespace {

class BraceFormatter {
 public:
  BraceFormatter(Interp& interp, const Value& format, const Args& args)
      : interp_(interp), format_(format), text_(format.text()), args_(args), out_(interp.heap()) {}

  Result<Value> run() {
    const std::string& bytes = text_.bytes();
    QUERN_CHECK(interp_.spend_bytes(bytes.size()));
    std::size_t plain = 0;
    while (true) {
      const std::size_t at = bytes.find_first_of("{}", plain);
      if (at == std::string::npos) break;
      out_.append(text_, plain, at);
      if (at + 1 < bytes.size() && bytes[at + 1] == bytes[at]) {
        out_.append(text_, at, at + 1);
        plain = at + 2;
        continue;
      }
      if (bytes[at] == '}') return language_error("single '}' encountered in format string");
      const std::size_t end = closing(at + 1);
      if (end == std::string::npos) return language_error("expected '}' before end of string");
      QUERN_CHECK(field(std::string_view(bytes).substr(at + 1, end - at - 1)));
      plain = end + 1;
    }
    out_.append(text_, plain, text_.size());
    QUERN_TRY(result, make_string(out_));
    return std::move(result).mark_markup(format_.is_markup());
  }

 private:
  std::size_t closing(std::size_t at) const {
    int open = 1;
    for (; at < text_.size(); ++at) {
      const char c = text_.bytes()[at];
      open += c == '{' ? 1 : c == '}' ? -1 : 0;
      if (open == 0) return at;
    }
    return std::string::npos;
  }

  Result<Value> lookup(std::string_view name) {
    std::int64_t index = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool number = !name.empty() && parsed.ec == std::errc() &&
                        parsed.ptr == name.data() + name.size() && index >= 0;
    if (name.empty() || number) {
      if (numbering_.has_value() && *numbering_ != name.empty()) {
        return language_error("cannot switch between manual and automatic field numbering");
      }
      numbering_ = name.empty();
      const auto place = name.empty() ? next_++ : static_cast<std::size_t>(index);
      if (place >= args_.positional.size()) return language_error("replacement index out of range");
      return args_.positional[place];
    }
    for (const auto& [key, value] : args_.named) {
      if (key == name) return value;
    }
    return language_error("a named field of the format string was not given");
  }

  /// `name.attribute[key]…`
  Result<Value> resolve(std::string_view path) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    QUERN_TRY(value, lookup(path.substr(0, end)));
    path.remove_prefix(end);
    while (!path.empty()) {
      QUERN_CHECK(interp_.spend(1));
      const bool attribute = path[0] == '.';
      const std::size_t stop =
          attribute ? std::min(path.find_first_of(".[", 1), path.size()) : path.find(']');
      if (stop == std::string_view::npos || stop < 2)
        return language_error("a malformed field name in a format string");
      const std::string_view part = path.substr(1, stop - 1);
      QUERN_TRY(next, attribute ? get_attribute(interp_, value, part) : element(value, part));
      value = std::move(next);
      path.remove_prefix(attribute ? stop : stop + 1);
    }
    return value;
  }

  Result<Value> element(const Value& value, std::string_view key) {
    std::int64_t index = 0;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), index);
    if (parsed.ec == std::errc() && parsed.ptr == key.data() + key.size() && index >= 0) {
      return get_item(interp_, value, Value(index));
    }
    QUERN_TRY(name, make_string(interp_.heap(), key, true));
    return get_item(interp_, value, name);
  }

  Status field(std::string_view text) {
    const std::size_t path_end = std::min(text.find_first_of(":!"), text.size());
    QUERN_TRY(value, resolve(text.substr(0, path_end)));
    std::string_view rest = text.substr(path_end);
    if (!rest.empty() && rest[0] == '!') {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':'))
        return language_error("a malformed conversion in a format string");
      if (rest[1] == 'a')
        return Error(ErrorCode::kUnsupported, "the conversion !a is not supported");
      if (rest[1] != 'r' && rest[1] != 's')
        return language_error("unknown conversion in a format string");
      QUERN_TRY(converted, convert(value, rest[1] == 'r'));
      value = std::move(converted);
      rest.remove_prefix(2);
    }
    if (!rest.empty()) rest.remove_prefix(1);
    if (rest.find('{') != std::string_view::npos) {
      return Error(ErrorCode::kUnsupported, "a field within a format specification");
    }
    QUERN_TRY(shown, format_value(interp_, value, rest, text_.trusted()));
    if (!format_.is_markup()) {
      out_.append(shown.text());
      return {};
    }
    QUERN_TRY(escaped, escape(interp_, value.is_markup() ? shown.as_markup(true) : shown));
    out_.append(escaped.text());
    return {};
  }

  Result<Value> convert(const Value& value, bool repr) {
    if (!repr) return to_str(interp_, value);
    TextBuilder builder(interp_.heap());
    QUERN_CHECK(append_repr(interp_, builder, value));
    return make_string(builder);
  }

  Interp& interp_;
  const Value& format_;
  const Text& text_;
  const Args& args_;
  TextBuilder out_;
  std::size_t next_ = 0;
  std::optional<bool> numbering_;
};

}  // namespace

Result<Value> format_braces(Interp& interp, const Value& format, const Args& args) {
  return BraceFormatter(interp, format, args).run();
}

}  // namespace quern::text::jinja
