#include "text/jinja/json_writer.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"
#include "text/jinja/stable_sort.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

std::string unicode_escape(char32_t c) {
  static constexpr char kHex[] = "0123456789abcdef";
  if (c > 0xFFFFu) {
    c -= 0x10000u;
    return unicode_escape(0xD800u + (c >> 10)) + unicode_escape(0xDC00u + (c & 0x3FFu));
  }
  std::string out = "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out.push_back(kHex[(c >> shift) & 15u]);
  return out;
}

/// \return the escape of a character within a JSON string, or "" for one that stands for itself.
std::string escape_of(char32_t c, bool ensure_ascii) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\f':
      return "\\f";
    case '\b':
      return "\\b";
    default:
      break;
  }
  if (c < 0x20u || (ensure_ascii && c > 0x7Eu)) return unicode_escape(c);
  return "";
}

class Writer {
 public:
  Writer(Interp& interp, TextBuilder& out, const JsonStyle& style)
      : interp_(interp), out_(out), style_(style) {}

  Status write(const Value& value) {
    QUERN_CHECK(interp_.spend(1));
    if (out_.failed()) return out_.failure();
    switch (value.kind()) {
      case Kind::kString:
        return write_string(value.text());
      case Kind::kMap:
        return write_map(value);
      case Kind::kSequence:
        return write_sequence(value);
      case Kind::kUndefined:
      case Kind::kObject:
        return language_error("an object of type " + value.type_name() +
                              " cannot be written as JSON");
      default:
        out_.append(scalar(value), !value.from_user());
        return {};
    }
  }

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is(Kind::kBool)) return value.as_bool() ? "true" : "false";
    if (!value.is(Kind::kFloat) || std::isfinite(value.as_double())) return scalar_repr(value);
    if (std::isnan(value.as_double())) return "NaN";
    return value.as_double() < 0 ? "-Infinity" : "Infinity";
  }

  Status write_string(const Text& text) {
    QUERN_CHECK(interp_.spend_bytes(text.size()));
    const bool trusted = text.trusted();
    out_.append("\"", trusted);
    std::size_t plain = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      const std::string escape = escape_of(decode_next(text.bytes(), at), style_.ensure_ascii);
      if (escape.empty()) continue;
      out_.append(text, plain, begin);
      out_.append(escape, text.trusted_at(begin));
      plain = at;
    }
    out_.append(text, plain, text.size());
    out_.append("\"", trusted);
    return {};
  }

  void new_line(bool trusted) {
    if (!style_.indent.has_value()) return;
    out_.append("\n", trusted);
    for (int i = 0; i < level_; ++i) out_.append(**style_.indent);
  }

  void separator(bool trusted) {
    if (style_.item_separator != nullptr) {
      out_.append(*style_.item_separator);
    } else {
      out_.append(style_.indent.has_value() ? "," : ", ", trusted);
    }
    new_line(trusted);
  }

  Status write_key(const Value& key, bool trusted) {
    if (key.is_string()) {
      QUERN_CHECK(write_string(key.text()));
    } else if (key.is_number() || key.is_none()) {
      out_.append("\"" + scalar(key) + "\"", !key.from_user());
    } else {
      return language_error("a key of type " + key.type_name() + " cannot be written as JSON");
    }
    if (style_.key_separator != nullptr) {
      out_.append(*style_.key_separator);
    } else {
      out_.append(": ", trusted);
    }
    return {};
  }

  Status write_map(const Value& value) {
    const bool trusted = !value.from_user();
    if (value.map().size() == 0) {
      out_.append("{}", trusted);
      return {};
    }
    std::vector<const Map::Entry*> entries;
    for (const auto& entry : value.map().entries()) entries.push_back(&entry);
    if (style_.sort_keys) QUERN_CHECK(sort_entries(entries));
    out_.append("{", trusted);
    ++level_;
    new_line(trusted);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) separator(trusted);
      QUERN_CHECK(write_key(entries[i]->first, trusted));
      QUERN_CHECK(write(entries[i]->second));
    }
    --level_;
    new_line(trusted);
    out_.append("}", trusted);
    return {};
  }

  Status sort_entries(std::vector<const Map::Entry*>& entries) {
    return stable_sort(entries, [this](const Map::Entry* a, const Map::Entry* b) {
      return less(interp_, a->first, b->first);
    });
  }

  Status write_sequence(const Value& value) {
    const Sequence& sequence = value.sequence();
    const bool trusted = !value.from_user();
    if (sequence.flavor != Flavor::kList && !sequence.is_tuple()) {
      return language_error("an object of type " + value.type_name() +
                            " cannot be written as JSON");
    }
    if (sequence.items.empty()) {
      out_.append("[]", trusted);
      return {};
    }
    out_.append("[", trusted);
    ++level_;
    new_line(trusted);
    for (std::size_t i = 0; i < sequence.items.size(); ++i) {
      if (i > 0) separator(trusted);
      QUERN_CHECK(write(sequence.items[i]));
    }
    --level_;
    new_line(trusted);
    out_.append("]", trusted);
    return {};
  }

  Interp& interp_;
  TextBuilder& out_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

Status append_json(Interp& interp, TextBuilder& out, const Value& value, const JsonStyle& style) {
  return Writer(interp, out, style).write(value);
}

}  // namespace quern::text::jinja
