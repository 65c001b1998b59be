#include "text/jinja/printer.h"

#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/interp.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

/// \return the escape of a character that does not stand for itself in a repr, or "".
std::string escape_of(char32_t c, char quote) {
  switch (c) {
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  if (c == static_cast<unsigned char>(quote)) return {'\\', quote};
  if (is_printable(c)) return "";
  static constexpr char kHex[] = "0123456789abcdef";
  const int digits = c < 0x100u ? 2 : c < 0x10000u ? 4 : 8;
  std::string out = digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4)
    out.push_back(kHex[(c >> shift) & 15u]);
  return out;
}

Status append_string_repr(Interp& interp, TextBuilder& out, const Value& value) {
  const Text& text = value.text();
  QUERN_CHECK(interp.spend_bytes(text.size()));
  const bool trusted = text.trusted();
  const char quote =
      text.bytes().find('\'') != std::string::npos && text.bytes().find('"') == std::string::npos
          ? '"'
          : '\'';
  if (value.is_markup()) out.append("Markup(", trusted);
  out.append(std::string_view(&quote, 1), trusted);
  std::size_t plain = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const std::string escape = escape_of(decode_next(text.bytes(), at), quote);
    if (escape.empty()) continue;
    out.append(text, plain, begin);
    out.append(escape, text.trusted_at(begin));
    plain = at;
  }
  out.append(text, plain, text.size());
  out.append(std::string_view(&quote, 1), trusted);
  if (value.is_markup()) out.append(")", trusted);
  return {};
}

struct Brackets {
  std::string_view open, close;
};

Brackets brackets_of(Flavor flavor) {
  switch (flavor) {
    case Flavor::kTuple:
    case Flavor::kGroup:
      return {"(", ")"};
    case Flavor::kKeys:
      return {"dict_keys([", "])"};
    case Flavor::kValues:
      return {"dict_values([", "])"};
    case Flavor::kItems:
      return {"dict_items([", "])"};
    default:
      return {"[", "]"};
  }
}

Status append_repr_at(Interp& interp, TextBuilder& out, const Value& value);

Status append_sequence(Interp& interp, TextBuilder& out, const Value& value) {
  const Sequence& sequence = value.sequence();
  const bool trusted = !value.from_user();
  if (sequence.is_iterator()) {
    return Error(ErrorCode::kUnsupported, "a generator cannot be printed; use the filter 'list'");
  }
  if (sequence.flavor == Flavor::kRange) {
    std::string text =
        "range(" + std::to_string(sequence.range[0]) + ", " + std::to_string(sequence.range[1]);
    if (sequence.range[2] != 1) text += ", " + std::to_string(sequence.range[2]);
    out.append(text + ")", trusted);
    return {};
  }
  const Brackets brackets = brackets_of(sequence.flavor);
  out.append(brackets.open, trusted);
  for (std::size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) out.append(", ", trusted);
    QUERN_CHECK(append_repr_at(interp, out, sequence.items[i]));
  }
  if (sequence.is_tuple() && sequence.items.size() == 1) out.append(",", trusted);
  out.append(brackets.close, trusted);
  return {};
}

Status append_map(Interp& interp, TextBuilder& out, const Value& value) {
  const bool trusted = !value.from_user();
  out.append("{", trusted);
  bool first = true;
  for (const auto& [key, item] : value.map().entries()) {
    if (!first) out.append(", ", trusted);
    first = false;
    QUERN_CHECK(append_repr_at(interp, out, key));
    out.append(": ", trusted);
    QUERN_CHECK(append_repr_at(interp, out, item));
  }
  out.append("}", trusted);
  return {};
}

Status append_repr_at(Interp& interp, TextBuilder& out, const Value& value) {
  QUERN_CHECK(interp.spend(1));
  if (out.failed()) return out.failure();
  switch (value.kind()) {
    case Kind::kUndefined:
      out.append("Undefined", true);
      return {};
    case Kind::kString:
      return append_string_repr(interp, out, value);
    case Kind::kSequence:
      return append_sequence(interp, out, value);
    case Kind::kMap:
      return append_map(interp, out, value);
    case Kind::kObject: {
      QUERN_TRY(text, value.object().print(interp));
      out.append(text.text());
      return {};
    }
    default:
      out.append(scalar_repr(value), !value.from_user());
      return {};
  }
}

}  // namespace

std::string float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer{};
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number,
                                        std::chars_format::scientific);
  const std::string digits(buffer.data(), scientific.ptr);
  const int exponent = std::stoi(digits.substr(digits.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return digits;
  const auto fixed =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::fixed);
  std::string text(buffer.data(), fixed.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string scalar_repr(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.as_bool() ? "True" : "False";
    case Kind::kInt:
      return std::to_string(value.as_int());
    default:
      return float_repr(value.as_double());
  }
}

Status append_str(Interp& interp, TextBuilder& out, const Value& value) {
  if (value.is_undefined()) return {};
  if (value.is_string()) {
    out.append(value.text());
    return interp.spend_bytes(value.text().size());
  }
  return append_repr(interp, out, value);
}

Status append_repr(Interp& interp, TextBuilder& out, const Value& value) {
  return append_repr_at(interp, out, value);
}

Result<Value> to_str(Interp& interp, const Value& value) {
  if (value.is_string()) return value;
  TextBuilder out(interp.heap());
  QUERN_CHECK(append_str(interp, out, value));
  return make_string(out);
}

}  // namespace quern::text::jinja
