// JSON values as text.
#include <charconv>
#include <cmath>

#include "formats/json_value.h"

namespace quern::formats {
namespace {

/// \return the bytes of the UTF-8 character at `at` (1 to 4), or 0 where the bytes are none: no
/// lead byte, cut off, overlong, a surrogate, beyond U+10FFFF (Unicode 15, table 3-7).
std::size_t character_bytes(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i)
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
  return length;
}

void append_escaped(unsigned char c, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  static constexpr std::string_view kNamed = "\b\t\n\f\r\"\\", kLetters = "btnfr\"\\";
  out += '\\';
  if (const auto at = kNamed.find(static_cast<char>(c)); at != kNamed.npos) {
    out += kLetters[at];
    return;
  }
  out += "u00";
  out += kHex[c >> 4];
  out += kHex[c & 15];
}

void append_string(std::string_view text, std::string& out) {
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character_bytes(text, at);
    const auto c = static_cast<unsigned char>(text[at]);
    if (length == 0)
      out += "\xEF\xBF\xBD";
    else if (c < 0x20 || c == '"' || c == '\\')
      append_escaped(c, out);
    else
      out += text.substr(at, length);
    at += length == 0 ? 1 : length;
  }
  out += '"';
}

/// With a point or an exponent, so that it stays a float when it is read again.
void append_float(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  const double size = std::fabs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e15);
  char digits[32];  // The longest is 24 characters: "-1.2345678901234567e-300".
  const auto end = std::to_chars(digits, digits + sizeof(digits), value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  const std::string_view text(digits, static_cast<std::size_t>(end.ptr - digits));
  out += text;
  if (text.find_first_of(".e") == text.npos) out += ".0";
}

/// One document under way. Recurses as deep as the value nests.
class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}

  void write(const Json& value) {
    switch (value.type()) {
      case Json::Type::kNull:
        out += "null";
        break;
      case Json::Type::kBoolean:
        out += value.boolean() ? "true" : "false";
        break;
      case Json::Type::kNegative:
        out += std::to_string(value.integer());
        break;
      case Json::Type::kUnsigned:
        out += std::to_string(value.unsigned_integer());
        break;
      case Json::Type::kFloat:
        append_float(value.number(), out);
        break;
      case Json::Type::kString:
        append_string(value.string(), out);
        break;
      case Json::Type::kArray:
        write_list('[', value.elements(), ']', [this](const Json& element) { write(element); });
        break;
      case Json::Type::kObject:
        write_list('{', value.items(), '}', [this](const JsonMember& member) {
          append_string(member.key, out);
          out += indent_ < 0 ? ":" : ": ";
          write(member.value);
        });
        break;
    }
  }

  std::string out;

 private:
  template <class T, class Write>
  void write_list(char open, std::span<const T> list, char close, Write write_one) {
    out += open;
    ++depth_;
    const char* between = "";
    for (const T& one : list) {
      out += between;
      start_line();
      write_one(one);
      between = ",";
    }
    --depth_;
    if (!list.empty()) start_line();
    out += close;
  }

  void start_line() {
    if (indent_ < 0) return;
    out += '\n';
    out.append(static_cast<std::size_t>(indent_) * depth_, ' ');
  }

  int indent_;
  std::size_t depth_ = 0;
};

}  // namespace

std::string dump_json(const Json& value, int indent) {
  Writer writer(indent);
  writer.write(value);
  return std::move(writer.out);
}

}  // namespace quern::formats
