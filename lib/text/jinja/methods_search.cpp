// Methods of strings that search and classify.
#include <algorithm>
#include <iterator>

#include "text/jinja/access.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interp.h"
#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

/// The part [start, end) that a search is limited to, by bytes.
struct Window {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool valid = true;  ///< Whether start lies before end: elsewhere not even "" is found.
};

Result<Window> window_of(Call& call, std::size_t first) {
  const Text& text = call.self.text();
  const auto length = static_cast<std::int64_t>(text.length());
  QUERN_TRY(start, call.has(first) ? call.integer(first, 0) : Result<std::int64_t>(0));
  QUERN_TRY(stop,
            call.has(first + 1) ? call.integer(first + 1, length) : Result<std::int64_t>(length));
  const auto place = [length](std::int64_t i) {
    return std::max<std::int64_t>(i < 0 ? i + length : i, 0);
  };
  const std::int64_t from = place(start);
  const std::int64_t to = std::min(place(stop), length);
  QUERN_CHECK(call.interp.spend_bytes(text.size()));
  return Window{text.offset_of(static_cast<std::size_t>(from)),
                text.offset_of(static_cast<std::size_t>(to)), from <= to};
}

/// find, rfind, index and rindex. `kStrict`: not found is an error.
template <bool kLast, bool kStrict>
Result<Value> method_find(Call& call) {
  QUERN_TRY(needle, call.string(0));
  QUERN_TRY(window, window_of(call, 1));
  std::size_t found = std::string_view::npos;
  if (window.valid) {
    const std::string_view part =
        std::string_view(call.self.str()).substr(window.begin, window.end - window.begin);
    found = kLast ? part.rfind(needle->bytes()) : part.find(needle->bytes());
  }
  if (found != std::string_view::npos) {
    const auto before = std::string_view(call.self.str()).substr(0, window.begin + found);
    return Value(static_cast<std::int64_t>(count_code_points(before)));
  }
  if (kStrict) return language_error("substring not found");
  return Value(std::int64_t{-1});
}

Result<Value> method_count(Call& call) {
  QUERN_TRY(needle, call.string(0));
  QUERN_TRY(window, window_of(call, 1));
  if (!window.valid) return Value(std::int64_t{0});
  const std::string_view part =
      std::string_view(call.self.str()).substr(window.begin, window.end - window.begin);
  if (needle->size() == 0) return Value(static_cast<std::int64_t>(count_code_points(part)) + 1);
  std::int64_t count = 0;
  for (std::size_t at = part.find(needle->bytes()); at != std::string_view::npos;
       at = part.find(needle->bytes(), at + needle->size())) {
    ++count;
  }
  return Value(count);
}

/// startswith and endswith: a string or a tuple of strings.
template <bool kEnd>
Result<Value> method_affix(Call& call) {
  std::vector<Value> affixes = {call[0]};
  if (call[0].is_sequence() && call[0].sequence().is_tuple()) affixes = call[0].sequence().items;
  QUERN_TRY(window, window_of(call, 1));
  const std::string_view part =
      std::string_view(call.self.str())
          .substr(window.begin, window.valid ? window.end - window.begin : 0);
  QUERN_CHECK(call.interp.spend(affixes.size()));
  for (const Value& affix : affixes) {
    if (!affix.is_string()) return call.bad_argument(0, "a string or a tuple of strings");
    const std::string& text = affix.str();
    if (!window.valid || text.size() > part.size()) continue;
    if (part.substr(kEnd ? part.size() - text.size() : 0, text.size()) == text) return Value(true);
  }
  return Value(false);
}

/// Whether all characters (at least one) are of a class.
template <bool (*kClass)(char32_t) noexcept>
Result<Value> method_all(Call& call) {
  const std::string& text = call.self.str();
  QUERN_CHECK(call.interp.spend_bytes(text.size()));
  for (std::size_t at = 0; at < text.size();) {
    if (!kClass(decode_next(text, at))) return Value(false);
  }
  return Value(!text.empty());
}

bool is_ascii(char32_t c) noexcept { return c < 0x80u; }

template <bool kEmpty, bool (*kClass)(char32_t) noexcept>
Result<Value> method_all_or_empty(Call& call) {
  if (call.self.str().empty()) return Value(kEmpty);
  return method_all<kClass>(call);
}

template <bool kUpper>
Result<Value> method_iscase(Call& call) {
  const std::string& text = call.self.str();
  QUERN_CHECK(call.interp.spend_bytes(text.size()));
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = decode_next(text, at);
    if (is_title(c) || (kUpper ? is_lower(c) : is_upper(c))) return Value(false);
    any |= kUpper ? is_upper(c) : is_lower(c);
  }
  return Value(any);
}

Result<Value> method_istitle(Call& call) {
  const std::string& text = call.self.str();
  QUERN_CHECK(call.interp.spend_bytes(text.size()));
  bool any = false;
  bool after_cased = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = decode_next(text, at);
    const bool upper = is_upper(c) || is_title(c);
    const bool cased = upper || is_lower(c);
    if ((upper && after_cased) || (is_lower(c) && !after_cased)) return Value(false);
    after_cased = cased;
    any |= cased;
  }
  return Value(any);
}

constexpr Builtin kMethods[] = {
    {"find", "sub start? end?", method_find<false, false>},
    {"rfind", "sub start? end?", method_find<true, false>},
    {"index", "sub start? end?", method_find<false, true>},
    {"rindex", "sub start? end?", method_find<true, true>},
    {"count", "sub start? end?", method_count},
    {"startswith", "prefix start? end?", method_affix<false>},
    {"endswith", "suffix start? end?", method_affix<true>},
    {"isalpha", "", method_all<is_alpha>},
    {"isdigit", "", method_all<is_digit>},
    {"isdecimal", "", method_all<is_decimal>},
    {"isnumeric", "", method_all<is_numeric_class>},
    {"isalnum", "", method_all<is_alnum>},
    {"isspace", "", method_all<is_space>},
    {"isascii", "", method_all_or_empty<true, is_ascii>},
    {"isprintable", "", method_all_or_empty<true, is_printable>},
    {"isupper", "", method_iscase<true>},
    {"islower", "", method_iscase<false>},
    {"istitle", "", method_istitle},
};

}  // namespace

Table search_methods() { return {std::begin(kMethods), std::end(kMethods)}; }

}  // namespace quern::text::jinja
