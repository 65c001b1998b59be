#include "text/tokenizer/unicode.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer/unicode_delta.h"
#include "text/tokenizer/utf8.h"

#ifdef QUERN_HAVE_UTF8PROC
#include <utf8proc.h>
#endif

namespace quern::text {

bool is_space(char32_t c) noexcept {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_cjk_ideograph(char32_t c) noexcept {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

#ifdef QUERN_HAVE_UTF8PROC
namespace {

utf8proc_category_t category(char32_t c) noexcept {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_between(utf8proc_category_t value, utf8proc_category_t first, utf8proc_category_t last) {
  return value >= first && value <= last;
}

}  // namespace

bool unicode_available() noexcept { return true; }

bool is_number(char32_t c) noexcept {
  return is_between(category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO) ||
         (c >= 0x80 && is_library_number(c));
}
bool is_decimal_digit(char32_t c) noexcept { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_punctuation(char32_t c) noexcept {
  if (c < 0x80)
    return c > 0x20 && c < 0x7F && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z');
  const int library = library_punctuation(c);
  return library >= 0 ? library != 0
                      : is_between(category(c), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}
bool is_other(char32_t c) noexcept {
  return is_between(category(c), UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO) &&
         !is_no_library_other(c);
}
bool is_mark(char32_t c) noexcept {
  if (c < 0x300) return false;
  const int library = library_mark(c);
  return library >= 0 ? library != 0
                      : is_between(category(c), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}
bool is_nonspacing_mark(char32_t c) noexcept {
  if (c < 0x300) return false;
  const int library = library_nonspacing_mark(c);
  return library >= 0 ? library != 0 : category(c) == UTF8PROC_CATEGORY_MN;
}

bool is_word(char32_t c) noexcept {
  if (c == 0x200C || c == 0x200D) return true;
  const utf8proc_category_t value = category(c);
  if (is_between(value, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL)) return true;
  if (value == UTF8PROC_CATEGORY_PC) return true;
  if (c >= 0x80 && is_library_word(c)) return true;
  // Other_Alphabetic among the symbols: circled and squared letters.
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

void append_lowercase(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  } else if (c == 0x130) {  // The one unconditional mapping to two characters.
    out += "i\xCC\x87";
  } else {
    const char32_t library = library_lowercase(c);
    append_char(out, library != 0 ? library
                                  : static_cast<char32_t>(
                                        utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

namespace {

std::uint8_t combining_class(std::int32_t c) noexcept {
  if (is_library_starter(static_cast<char32_t>(c))) return 0;
  return static_cast<std::uint8_t>(utf8proc_get_property(c)->combining_class);
}

void decompose(char32_t c, bool compatible, std::vector<std::int32_t>& out) {
  utf8proc_int32_t buffer[32];
  int last_boundary = 0;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  const auto code = static_cast<utf8proc_int32_t>(c);
  if (is_kept_by_library(c)) {
    out.push_back(code);
    return;
  }
  const utf8proc_ssize_t n = utf8proc_decompose_char(code, buffer, 32, options, &last_boundary);
  if (n < 0 || n > 32) {
    out.push_back(code);
  } else {
    out.insert(out.end(), buffer, buffer + n);
  }
}

/// Canonical ordering: stable by class within each run of marks. A sort, because the exchange of
/// neighbours that libraries use is quadratic on long runs.
void order_marks(std::vector<std::int32_t>& codes) {
  const auto by_class = [](std::int32_t a, std::int32_t b) {
    return combining_class(a) < combining_class(b);
  };
  for (std::size_t i = 0; i < codes.size();) {
    if (combining_class(codes[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    while (end < codes.size() && combining_class(codes[end]) != 0) ++end;
    const auto first = codes.begin() + static_cast<std::ptrdiff_t>(i);
    const auto last = codes.begin() + static_cast<std::ptrdiff_t>(end);
    if (!std::is_sorted(first, last, by_class)) std::stable_sort(first, last, by_class);
    i = end;
  }
}

/// Composes in place where asked.
void append_composed(std::span<std::int32_t> codes, bool composes, std::string& out) {
  auto n = static_cast<utf8proc_ssize_t>(codes.size());
  if (composes) {
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    n = utf8proc_normalize_utf32(codes.data(), n, options);
  }
  for (utf8proc_ssize_t i = 0; i < n; ++i) {
    append_char(out, static_cast<char32_t>(codes[static_cast<std::size_t>(i)]));
  }
}

/// Normalizes a stretch that no ASCII character follows within a composition.
void normalize_stretch(std::string_view text, NormalForm form, std::vector<std::int32_t>& codes,
                       std::string& out) {
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  codes.clear();
  for (std::size_t at = 0; at < text.size();) {
    const Char c = decode_char(text, at);
    decompose(c.code, compatible, codes);
    at += c.bytes;
  }
  order_marks(codes);
  const bool composes = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  // Nothing composes across, or with, a starter that only the library takes for one.
  for (std::size_t begin = 0; begin < codes.size();) {
    std::size_t end = begin;
    while (end < codes.size() && !is_library_starter(static_cast<char32_t>(codes[end]))) ++end;
    append_composed({codes.data() + begin, end - begin}, composes, out);
    if (end < codes.size()) append_char(out, static_cast<char32_t>(codes[end]));
    begin = end + 1;
  }
}

}  // namespace

std::string normalize(std::string_view text, NormalForm form) {
  std::string out;
  out.reserve(text.size());
  std::vector<std::int32_t> codes;
  const auto is_ascii = [text](std::size_t i) {
    return static_cast<unsigned char>(text[i]) < 0x80;
  };
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t plain = at;
    while (plain < text.size() && is_ascii(plain)) ++plain;
    if (plain == text.size()) break;
    // The ASCII character before may be the base of a composition; none composes backwards.
    const std::size_t begin = plain > at ? plain - 1 : plain;
    std::size_t end = plain;
    while (end < text.size() && !is_ascii(end)) ++end;
    out.append(text.substr(at, begin - at));
    normalize_stretch(text.substr(begin, end - begin), form, codes, out);
    at = end;
  }
  out.append(text.substr(at));
  return out;
}

std::size_t grapheme_end(std::string_view text, std::size_t at) noexcept {
  Char previous = decode_char(text, at);
  std::size_t end = at + previous.bytes;
  utf8proc_int32_t state = 0;
  while (end < text.size()) {
    const Char next = decode_char(text, end);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous.code),
                                         static_cast<utf8proc_int32_t>(next.code), &state)) {
      break;
    }
    previous = next;
    end += next.bytes;
  }
  return end;
}

#else

bool unicode_available() noexcept { return false; }
bool is_number(char32_t) noexcept { return false; }
bool is_decimal_digit(char32_t c) noexcept { return c >= '0' && c <= '9'; }
bool is_punctuation(char32_t) noexcept { return false; }
bool is_other(char32_t) noexcept { return false; }
bool is_mark(char32_t) noexcept { return false; }
bool is_nonspacing_mark(char32_t) noexcept { return false; }
bool is_word(char32_t) noexcept { return false; }
void append_lowercase(std::string& out, char32_t c) { append_char(out, c); }
std::string normalize(std::string_view text, NormalForm) { return std::string(text); }
std::size_t grapheme_end(std::string_view text, std::size_t at) noexcept {
  return at + decode_char(text, at).bytes;
}

#endif

}  // namespace quern::text
