#include "text/jinja/text_ops.h"

#include <algorithm>

#include "text/jinja/access.h"
#include "text/jinja/interp.h"
#include "text/jinja/operators.h"
#include "text/jinja/printer.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }

/// \return whether the capital sigma at [at, next) ends a word, where its lower case is final.
bool is_final_sigma(std::string_view text, std::size_t at, std::size_t next, char32_t previous) {
  if (at == 0 || !is_cased(previous)) return false;
  return next >= text.size() || !is_cased(decode_next(text, next));
}

void append_changed(std::string& out, char32_t c, CaseChange change, bool word_start,
                    bool text_start) {
  switch (change) {
    case CaseChange::kLower:
      return append_lower(out, c);
    case CaseChange::kUpper:
      return append_upper(out, c);
    case CaseChange::kTitle:
      return word_start ? append_title(out, c) : append_lower(out, c);
    case CaseChange::kCapitalize:
      return text_start ? append_title(out, c) : append_lower(out, c);
    case CaseChange::kSwap:
      return is_upper(c)   ? append_lower(out, c)
             : is_lower(c) ? append_upper(out, c)
                           : append_utf8(out, c);
  }
}

/// \return bytes of the line end (of str.splitlines) at `at`, or 0.
std::size_t line_end_length(std::string_view text, std::size_t at) {
  std::size_t next = at;
  switch (decode_next(text, next)) {
    case '\r':
      return next < text.size() && text[next] == '\n' ? 2 : 1;
    case '\n':
    case 0x0B:
    case 0x0C:
    case 0x1C:
    case 0x1D:
    case 0x1E:
    case 0x85:
    case 0x2028:
    case 0x2029:
      return next - at;
    default:
      return 0;
  }
}

/// Byte ranges of the parts between separators.
using Ranges = std::vector<std::pair<std::size_t, std::size_t>>;

Ranges split_at(std::string_view text, std::string_view separator, std::size_t count,
                bool from_right) {
  Ranges ranges;
  if (!from_right) {
    std::size_t begin = 0;
    for (; count > 0; --count) {
      const std::size_t at = text.find(separator, begin);
      if (at == std::string_view::npos) break;
      ranges.emplace_back(begin, at);
      begin = at + separator.size();
    }
    ranges.emplace_back(begin, text.size());
    return ranges;
  }
  std::size_t end = text.size();
  for (; count > 0 && end >= separator.size(); --count) {
    const std::size_t at = text.rfind(separator, end - separator.size());
    if (at == std::string_view::npos) break;
    ranges.emplace_back(at + separator.size(), end);
    end = at;
  }
  ranges.emplace_back(0, end);
  std::reverse(ranges.begin(), ranges.end());
  return ranges;
}

/// The words of a text as byte ranges.
Ranges words_of(std::string_view text) {
  Ranges words;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const bool space = is_space(decode_next(text, at));
    if (!space && !inside) words.emplace_back(begin, at);
    if (!space) words.back().second = at;
    inside = !space;
  }
  return words;
}

Ranges split_at_space(std::string_view text, std::size_t count, bool from_right) {
  Ranges words = words_of(text);
  if (words.size() <= count) return words;
  // The rest keeps its inner white space; outer white space is dropped on the side of the split.
  if (from_right) {
    const std::size_t rest = words.size() - count - 1;
    words[rest].first = 0;
    words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(rest));
    return words;
  }
  words[count].second = text.size();
  words.resize(count + 1);
  return words;
}

}  // namespace

Result<Value> change_case(Interp& interp, const Value& value, CaseChange change) {
  const Text& text = value.text();
  QUERN_CHECK(interp.spend_bytes(text.size() * 8));
  TextBuilder out(interp.heap());
  std::string piece;
  char32_t previous = 0;
  std::size_t at = 0;
  for (const Text::Run& run : text.runs()) {
    piece.clear();
    while (at < run.end) {
      const std::size_t begin = at;
      const char32_t c = decode_next(text.bytes(), at);
      const bool word_start = begin == 0 || !is_cased(previous);
      const bool lowers = change != CaseChange::kUpper &&
                          (change != CaseChange::kTitle || !word_start) &&
                          (change != CaseChange::kCapitalize || begin != 0);
      if (c == 0x3A3u && lowers && is_final_sigma(text.bytes(), begin, at, previous)) {
        append_utf8(piece, 0x3C2u);
      } else {
        append_changed(piece, c, change, word_start, begin == 0);
      }
      previous = c;
    }
    out.append(piece, run.trusted);
  }
  QUERN_TRY(changed, make_string(out));
  return std::move(changed).mark_markup(value.is_markup());
}

Result<Value> strip(Interp& interp, const Value& value, const Text* chars, bool left, bool right) {
  const std::string& text = value.str();
  QUERN_CHECK(interp.spend_bytes(
      chars == nullptr ? text.size() : text.size() * std::min<std::size_t>(chars->size(), 1024)));
  const auto strips = [chars](char32_t c) {
    if (chars == nullptr) return is_space(c);
    for (std::size_t at = 0; at < chars->size();) {
      if (decode_next(chars->bytes(), at) == c) return true;
    }
    return false;
  };
  std::size_t begin = 0;
  while (left && begin < text.size()) {
    std::size_t next = begin;
    if (!strips(decode_next(text, next))) break;
    begin = next;
  }
  std::size_t end = text.size();
  while (right && end > begin) {
    std::size_t start = end - 1;
    while (start > begin && (static_cast<unsigned char>(text[start]) & 0xC0u) == 0x80u) --start;
    std::size_t next = start;
    if (!strips(decode_next(text, next))) break;
    end = start;
  }
  return byte_range(interp, value, begin, end);
}

Result<Value> replace(Interp& interp, const Value& value, const Text& from, const Text& to,
                      std::int64_t count) {
  const Text& text = value.text();
  QUERN_CHECK(interp.spend_bytes(text.size()));
  TextBuilder out(interp.heap());
  std::size_t plain = 0;
  std::size_t matches = 0;
  const auto spend_matches = [&]() -> Status {
    return ++matches % 1024 == 0 ? interp.spend(256) : Status();
  };
  if (from.size() == 0) {  // Between any two characters, and at both ends.
    for (std::size_t at = 0; count != 0 && !out.failed(); --count) {
      QUERN_CHECK(spend_matches());
      out.append(to);
      if (at >= text.size()) break;
      const std::size_t next = at + sequence_length(text.bytes(), at);
      out.append(text, at, next);
      plain = at = next;
    }
  } else {
    for (; count != 0 && !out.failed(); --count) {
      const std::size_t at = text.bytes().find(from.bytes(), plain);
      if (at == std::string::npos) break;
      QUERN_CHECK(spend_matches());
      out.append(text, plain, at);
      out.append(to);
      plain = at + from.size();
    }
  }
  out.append(text, plain, text.size());
  QUERN_CHECK(interp.spend_bytes(out.size()));
  return make_string(out);
}

Result<std::vector<Value>> split(Interp& interp, const Value& value, const Text* separator,
                                 std::int64_t count, bool from_right) {
  const std::string& text = value.str();
  QUERN_CHECK(interp.spend_bytes(text.size()));
  const auto limit = count < 0 ? ~std::size_t{0} : static_cast<std::size_t>(count);
  if (separator != nullptr && separator->size() == 0) return language_error("empty separator");
  const Ranges ranges = separator == nullptr
                            ? split_at_space(text, limit, from_right)
                            : split_at(text, separator->bytes(), limit, from_right);
  QUERN_CHECK(interp.spend(ranges.size() / 4));
  std::vector<Value> parts;
  for (const auto& [begin, end] : ranges) {
    QUERN_TRY(part, byte_range(interp, value, begin, end));
    parts.push_back(std::move(part));
  }
  return parts;
}

Result<std::vector<Value>> split_lines(Interp& interp, const Value& value, bool keep_ends) {
  const std::string& text = value.str();
  QUERN_CHECK(interp.spend_bytes(text.size()));
  std::vector<Value> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = line_end_length(text, at);
    if (end == 0) {
      at += sequence_length(text, at);
      continue;
    }
    QUERN_TRY(line, byte_range(interp, value, begin, keep_ends ? at + end : at));
    lines.push_back(std::move(line));
    begin = at = at + end;
  }
  if (begin < text.size()) {
    QUERN_TRY(line, byte_range(interp, value, begin, text.size()));
    lines.push_back(std::move(line));
  }
  QUERN_CHECK(interp.spend(lines.size() / 4));
  return lines;
}

Result<Value> pad(Interp& interp, const Value& value, std::int64_t width, Pad where,
                  const Text* fill) {
  const Text& text = value.text();
  const auto length = static_cast<std::int64_t>(text.length());
  if (width <= length) return value;
  const auto missing = static_cast<std::size_t>(width - length);
  if (missing > interp.heap().free_bytes()) return interp.heap().exhausted();
  QUERN_CHECK(interp.spend_bytes(missing));
  // As CPython centres: the odd blank goes to the left where the width is odd.
  std::size_t before = where == Pad::kLeft ? missing : 0;
  if (where == Pad::kBoth) before = missing / 2 + (missing & static_cast<std::size_t>(width) & 1u);
  TextBuilder out(interp.heap());
  const auto append_fill = [&out, fill](std::size_t n) {
    for (; n > 0; --n) fill != nullptr ? out.append(*fill) : out.append(" ", true);
  };
  append_fill(before);
  out.append(text);
  append_fill(missing - before);
  QUERN_TRY(padded, make_string(out));
  return std::move(padded).mark_markup(value.is_markup());
}

Result<Value> join(Interp& interp, const Value& separator, const std::vector<Value>& items) {
  TextBuilder out(interp.heap());
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) QUERN_CHECK(append_str(interp, out, separator));
    QUERN_CHECK(append_str(interp, out, items[i]));
  }
  return make_string(out);
}

Result<Value> list_of(Interp& interp, std::vector<Value> items) {
  return make_sequence(interp.heap(), Flavor::kList, std::move(items));
}

}  // namespace quern::text::jinja
