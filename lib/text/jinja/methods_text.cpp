// Methods of strings that make strings or lists of them.
#include <algorithm>
#include <iterator>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interp.h"
#include "text/jinja/text_ops.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

template <CaseChange kChange>
Result<Value> method_case(Call& call) {
  return change_case(call.interp, call.self, kChange);
}

template <bool kLeft, bool kRight>
Result<Value> method_strip(Call& call) {
  if (!call.has(0)) return strip(call.interp, call.self, nullptr, kLeft, kRight);
  QUERN_TRY(chars, call.string(0));
  return strip(call.interp, call.self, chars.get(), kLeft, kRight);
}

template <bool kFromRight>
Result<Value> method_split(Call& call) {
  QUERN_TRY(count, call.integer(1, -1));
  TextRef separator;
  if (call.has(0)) {
    QUERN_TRY(given, call.string(0));
    separator = std::move(given);
  }
  QUERN_TRY(parts, split(call.interp, call.self, separator.get(), count, kFromRight));
  return list_of(call.interp, std::move(parts));
}

Result<Value> method_splitlines(Call& call) {
  QUERN_TRY(lines, split_lines(call.interp, call.self, call.flag(0, false)));
  return list_of(call.interp, std::move(lines));
}

/// (before, separator, after); the separator missing, the text and two empty strings.
template <bool kFromRight>
Result<Value> method_partition(Call& call) {
  QUERN_TRY(separator, call.string(0));
  QUERN_TRY(parts, split(call.interp, call.self, separator.get(), 1, kFromRight));
  QUERN_TRY(empty, make_string(call.heap(), "", true));
  std::vector<Value> triple;
  if (parts.size() == 2)
    triple = {parts[0], call[0], parts[1]};
  else if (kFromRight)
    triple = {empty, empty, call.self};
  else
    triple = {call.self, empty, empty};
  return make_sequence(call.heap(), Flavor::kTuple, std::move(triple));
}

Result<Value> method_replace(Call& call) {
  QUERN_TRY(from, call.string(0));
  QUERN_TRY(to, call.string(1));
  QUERN_TRY(count, call.integer(2, -1));
  QUERN_TRY(text, replace(call.interp, call.self, *from, *to, count));
  return std::move(text).mark_markup(call.self.is_markup());
}

Result<Value> method_join(Call& call) {
  QUERN_TRY(items, iterate(call.interp, call[0]));
  for (const Value& item : items) {
    if (!item.is_string())
      return language_error("join() needs strings, not '" + item.type_name() + "'");
  }
  return join(call.interp, call.self, items);
}

Result<Value> method_removeprefix(Call& call) {
  QUERN_TRY(prefix, call.string(0));
  const std::string& text = call.self.str();
  const bool has = text.compare(0, prefix->size(), prefix->bytes()) == 0;
  return byte_range(call.interp, call.self, has ? prefix->size() : 0, text.size());
}

Result<Value> method_removesuffix(Call& call) {
  QUERN_TRY(suffix, call.string(0));
  const std::string& text = call.self.str();
  const std::size_t end = text.size() - std::min(text.size(), suffix->size());
  const bool has =
      suffix->size() <= text.size() && text.compare(end, std::string::npos, suffix->bytes()) == 0;
  return byte_range(call.interp, call.self, 0, has ? end : text.size());
}

template <Pad kWhere>
Result<Value> method_pad(Call& call) {
  QUERN_TRY(width, call.integer(0, 0));
  if (!call.args[1].has_value()) return pad(call.interp, call.self, width, kWhere, nullptr);
  QUERN_TRY(fill, call.string(1));
  if (fill->length() != 1) return call.bad_argument(1, "one character");
  return pad(call.interp, call.self, width, kWhere, fill.get());
}

Result<Value> method_zfill(Call& call) {
  QUERN_TRY(width, call.integer(0, 0));
  const Text& text = call.self.text();
  const std::size_t sign =
      text.size() > 0 && (text.bytes()[0] == '-' || text.bytes()[0] == '+') ? 1 : 0;
  const std::int64_t missing = width - static_cast<std::int64_t>(text.length());
  if (missing > static_cast<std::int64_t>(call.heap().free_bytes())) return call.heap().exhausted();
  TextBuilder out(call.heap());
  out.append(text, 0, sign);
  if (missing > 0) out.append(std::string(static_cast<std::size_t>(missing), '0'), text.trusted());
  out.append(text, sign, text.size());
  return make_string(out);
}

Result<Value> method_expandtabs(Call& call) {
  QUERN_TRY(size, call.integer(0, 8));
  const Text& text = call.self.text();
  QUERN_CHECK(call.interp.spend_bytes(text.size()));
  if (size > static_cast<std::int64_t>(call.heap().free_bytes())) return call.heap().exhausted();
  TextBuilder out(call.heap());
  std::int64_t column = 0;
  for (std::size_t at = 0; at < text.size() && !out.failed();) {
    const std::size_t next = at + sequence_length(text.bytes(), at);
    const char c = text.bytes()[at];
    if (c == '\t') {
      const std::int64_t blanks = size > 0 ? size - column % size : 0;
      out.append(std::string(static_cast<std::size_t>(blanks), ' '), text.trusted_at(at));
      column += blanks;
    } else {
      out.append(text, at, next);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    at = next;
  }
  return make_string(out);
}

Result<Value> method_format(Call& call) { return format_braces(call.interp, call.self, call.raw); }

constexpr Builtin kMethods[] = {
    {"upper", "", method_case<CaseChange::kUpper>},
    {"lower", "", method_case<CaseChange::kLower>},
    {"title", "", method_case<CaseChange::kTitle>},
    {"capitalize", "", method_case<CaseChange::kCapitalize>},
    {"swapcase", "", method_case<CaseChange::kSwap>},
    {"strip", "chars?", method_strip<true, true>},
    {"lstrip", "chars?", method_strip<true, false>},
    {"rstrip", "chars?", method_strip<false, true>},
    {"split", "sep? maxsplit?", method_split<false>},
    {"rsplit", "sep? maxsplit?", method_split<true>},
    {"splitlines", "keepends?", method_splitlines},
    {"partition", "sep", method_partition<false>},
    {"rpartition", "sep", method_partition<true>},
    {"replace", "old new count?", method_replace},
    {"join", "iterable", method_join},
    {"removeprefix", "prefix", method_removeprefix},
    {"removesuffix", "suffix", method_removesuffix},
    {"center", "width fillchar?", method_pad<Pad::kBoth>},
    {"ljust", "width fillchar?", method_pad<Pad::kRight>},
    {"rjust", "width fillchar?", method_pad<Pad::kLeft>},
    {"zfill", "width", method_zfill},
    {"expandtabs", "tabsize?", method_expandtabs},
    {"format", "*", method_format},
};

}  // namespace

Table text_methods() { return {std::begin(kMethods), std::end(kMethods)}; }

}  // namespace quern::text::jinja
