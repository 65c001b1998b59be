// Filters on strings.
#include <algorithm>
#include <iterator>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interp.h"
#include "text/jinja/json_writer.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"
#include "text/jinja/text_ops.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

template <CaseChange kChange>
Result<Value> filter_case(Call& call) {
  QUERN_TRY(text, to_str(call.interp, call.self));
  return change_case(call.interp, text, kChange);
}

/// Jinja's own idea of words: they begin after white space and any of - ( { [ <.
Result<Value> filter_title(Call& call) {
  QUERN_TRY(value, to_str(call.interp, call.self));
  const Text& text = value.text();
  QUERN_CHECK(call.interp.spend_bytes(text.size() * 8));
  TextBuilder out(call.heap());
  bool start = true;
  std::string piece;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = decode_next(text.bytes(), at);
    const bool separator =
        is_space(c) || (c < 0x80u && std::string_view("-({[<").find(static_cast<char>(c)) !=
                                         std::string_view::npos);
    piece.clear();
    start && !separator ? append_upper(piece, c) : append_lower(piece, c);
    out.append(piece, text.trusted_at(begin));
    start = separator;
  }
  return make_string(out);
}

Result<Value> filter_string(Call& call) { return to_str(call.interp, call.self); }

Result<Value> filter_safe(Call& call) {
  QUERN_TRY(text, to_str(call.interp, call.self));
  return std::move(text).mark_markup(true);
}

Result<Value> filter_escape(Call& call) { return escape(call.interp, call.self); }

Result<Value> filter_forceescape(Call& call) {
  return escape(call.interp, call.self.as_markup(false));
}

Result<Value> filter_trim(Call& call) {
  QUERN_TRY(text, to_str(call.interp, call.self));
  if (!call.has(0)) return strip(call.interp, text, nullptr, true, true);
  QUERN_TRY(chars, call.string(0));
  return strip(call.interp, text, chars.get(), true, true);
}

Result<Value> filter_replace(Call& call) {
  QUERN_TRY(text, to_str(call.interp, call.self));
  QUERN_TRY(from, to_str(call.interp, call[0]));
  QUERN_TRY(to, to_str(call.interp, call[1]));
  QUERN_TRY(count, call.has(2) ? call.integer(2, -1) : Result<std::int64_t>(-1));
  return replace(call.interp, text, from.text(), to.text(), count);
}

Result<Value> filter_center(Call& call) {
  QUERN_TRY(text, to_str(call.interp, call.self));
  QUERN_TRY(width, call.integer(0, 80));
  return pad(call.interp, text, width, Pad::kBoth, nullptr);
}

Result<Value> filter_format(Call& call) {
  QUERN_TRY(format, to_str(call.interp, call.self));
  if (!call.raw.positional.empty() && !call.raw.named.empty()) {
    return language_error("'format' takes positional or keyword arguments, not both");
  }
  if (call.raw.named.empty()) {
    QUERN_TRY(tuple, make_sequence(call.heap(), Flavor::kTuple, call.raw.positional));
    return format_percent(call.interp, format, tuple);
  }
  Map map;
  for (const auto& [name, value] : call.raw.named) {
    QUERN_TRY(key, make_string(call.heap(), name, true));
    QUERN_CHECK(map.set(std::move(key), value));
  }
  QUERN_TRY(named, make_map(call.heap(), std::move(map)));
  return format_percent(call.interp, format, named);
}

/// The text of one level of indentation: a string as it is, a number as so many blanks.
Result<TextRef> indentation(const Call& call, std::size_t i, std::int64_t otherwise) {
  if (call.args[i].has_value() && call[i].is_string()) return call[i].text_ref();
  QUERN_TRY(width, call.integer(i, otherwise));
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(width, 0));
  if (count > call.heap().free_bytes()) return call.heap().exhausted();
  QUERN_TRY(text, make_string(call.heap(), std::string(count, ' '), true));
  return text.text_ref();
}

Result<Value> filter_indent(Call& call) {
  if (!call.self.is_string())
    return language_error("'indent' needs a string, not '" + call.self.type_name() + "'");
  QUERN_TRY(indent, indentation(call, 0, 4));
  const bool first = call.flag(1, false);
  const bool blank = call.flag(2, false);
  TextBuilder padded(call.heap());
  padded.append(call.self.text());
  padded.append("\n", true);
  QUERN_TRY(source, make_string(padded));
  QUERN_TRY(lines, split_lines(call.interp, source, false));
  TextBuilder out(call.heap());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append("\n", true);
    if (i == 0 ? first : blank || lines[i].text().size() > 0) out.append(*indent);
    out.append(lines[i].text());
  }
  QUERN_TRY(text, make_string(out));
  return std::move(text).mark_markup(call.self.is_markup());
}

Result<Value> filter_truncate(Call& call) {
  QUERN_TRY(length, call.integer(0, 255));
  QUERN_TRY(leeway, call.has(3) ? call.integer(3, 5) : Result<std::int64_t>(5));
  QUERN_TRY(dots, make_string(call.heap(), "...", true));
  const Value end = call.args[2].has_value() ? call[2] : dots;
  if (call.self.is_undefined()) return call.self;  // It has no length to be cut.
  if (!call.self.is_string() || !end.is_string()) return language_error("'truncate' needs strings");
  const auto end_length = static_cast<std::int64_t>(end.text().length());
  if (length < end_length || leeway < 0)
    return language_error("'truncate' got a length below that of its ending");
  if (static_cast<std::int64_t>(call.self.text().length()) - leeway <= length) return call.self;
  QUERN_TRY(kept,
            substring(call.interp, call.self, 0, static_cast<std::size_t>(length - end_length)));
  const std::size_t space = kept.str().rfind(' ');
  if (!call.flag(1, false) && space != std::string::npos) {
    QUERN_TRY(words, byte_range(call.interp, kept, 0, space));
    kept = std::move(words);
  }
  return arithmetic(call.interp, Operator::kAdd, kept, end);
}

Result<Value> filter_wordcount(Call& call) {
  QUERN_TRY(text, to_str(call.interp, call.self));
  QUERN_CHECK(call.interp.spend_bytes(text.text().size()));
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.text().size();) {
    const char32_t c = decode_next(text.str(), at);
    const bool word = c == '_' || is_alnum(c);
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value(words);
}

/// Appends the bytes of a text percent-encoded; `safe` are kept besides letters, digits and _.-~
void append_url(TextBuilder& out, const Text& text, std::string_view safe, bool plus) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text.bytes()[at]);
    const char c = text.bytes()[at];
    const bool keep = (byte < 0x80u && is_alnum(byte)) ||
                      std::string_view("_.-~").find(c) != std::string_view::npos ||
                      safe.find(c) != std::string_view::npos;
    const char escaped[] = {'%', kHex[byte >> 4], kHex[byte & 15u]};
    const std::string_view shown = keep               ? std::string_view(&c, 1)
                                   : plus && c == ' ' ? "+"
                                                      : std::string_view(escaped, 3);
    out.append(shown, text.trusted_at(at));
  }
}

Result<Value> filter_urlencode(Call& call) {
  TextBuilder out(call.heap());
  if (call.self.is_string() || !is_iterable(call.self)) {
    QUERN_TRY(text, to_str(call.interp, call.self));
    QUERN_CHECK(call.interp.spend_bytes(text.text().size() * 8));
    append_url(out, text.text(), "/", false);
    return make_string(out);
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (call.self.is_map()) {
    pairs = call.self.map().entries();
  } else {
    QUERN_TRY(items, iterate(call.interp, call.self));
    for (const Value& item : items) {
      QUERN_TRY(pair, iterate(call.interp, item));
      if (pair.size() != 2) return language_error("'urlencode' needs pairs");
      pairs.emplace_back(pair[0], pair[1]);
    }
  }
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    QUERN_TRY(key, to_str(call.interp, pairs[i].first));
    QUERN_TRY(value, to_str(call.interp, pairs[i].second));
    QUERN_CHECK(call.interp.spend(1 + (key.text().size() + value.text().size()) / 128));
    if (i > 0) out.append("&", true);
    append_url(out, key.text(), "", true);
    out.append("=", true);
    append_url(out, value.text(), "", true);
  }
  return make_string(out);
}

/// transformers' tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False).
Result<Value> filter_tojson(Call& call) {
  JsonStyle style;
  style.ensure_ascii = call.flag(0, false);
  if (call.has(1)) {
    QUERN_TRY(indent, indentation(call, 1, 0));
    style.indent = std::move(indent);
  }
  if (call.has(2)) {
    QUERN_TRY(separators, iterate(call.interp, call[2]));
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      return call.bad_argument(2, "two strings");
    }
    style.item_separator = separators[0].text_ref();
    style.key_separator = separators[1].text_ref();
  }
  style.sort_keys = call.flag(3, false);
  TextBuilder out(call.heap());
  QUERN_CHECK(append_json(call.interp, out, call.self, style));
  return make_string(out);
}

constexpr Builtin kFilters[] = {
    {"upper", "", filter_case<CaseChange::kUpper>},
    {"lower", "", filter_case<CaseChange::kLower>},
    {"capitalize", "", filter_case<CaseChange::kCapitalize>},
    {"title", "", filter_title},
    {"string", "", filter_string},
    {"safe", "", filter_safe},
    {"escape", "", filter_escape},
    {"e", "", filter_escape},
    {"forceescape", "", filter_forceescape},
    {"trim", "chars?", filter_trim},
    {"replace", "old new count?", filter_replace},
    {"center", "width?", filter_center},
    {"format", "*", filter_format},
    {"indent", "width? first? blank?", filter_indent},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {"wordcount", "", filter_wordcount},
    {"urlencode", "", filter_urlencode},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
};

}  // namespace

Table text_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace quern::text::jinja
