// Patterns that a backtracking engine matches in quadratic time on long runs.
#include "text/tokenizer/regex.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

/// Calls `take(begin, end)` for every longest run of characters that `is` accepts.
template <class Is, class Take>
void each_run(std::string_view text, Is is, Take take) {
  std::size_t begin = 0;
  bool inside = false;
  for (std::size_t at = 0; at <= text.size();) {
    const Char c = decode_char(text, at);
    const bool in = c.bytes != 0 && is(c.code);
    if (in && !inside) begin = at;
    if (!in && inside) take(begin, at);
    inside = in;
    at += c.bytes == 0 ? 1 : c.bytes;
  }
}

/// `\s+$` where `$` is the end of a line: of each run of white space, what reaches furthest.
void spaces_before_line_end(std::string_view text, std::vector<ByteRange>& out) {
  each_run(text, is_space, [&](std::size_t begin, std::size_t end) {
    if (end < text.size()) {
      // The match ends before the run's last line feed, unless the run begins with it.
      const std::size_t feed = text.substr(begin, end - begin).rfind('\n');
      if (feed == std::string_view::npos || feed == 0) return;
      end = begin + feed;
    }
    out.push_back({begin, end});
  });
}

std::vector<std::size_t> character_starts(std::string_view text, std::size_t begin,
                                          std::size_t end) {
  std::vector<std::size_t> starts;
  for (std::size_t at = begin; at < end; at += decode_char(text, at).bytes) starts.push_back(at);
  return starts;
}

/// `(?=(\d{3})+(?!\d))`: an empty match before every third digit, counted from the right.
void digits_from_right_empty(std::string_view text, std::vector<ByteRange>& out) {
  each_run(text, is_decimal_digit, [&](std::size_t begin, std::size_t end) {
    const auto starts = character_starts(text, begin, end);
    for (std::size_t i = starts.size() % 3; i < starts.size(); i += 3) {
      out.push_back({starts[i], starts[i]});
    }
  });
}

/// Oniguruma's `\w`: without the joiners, with the superscripts and fractions of Latin-1.
bool is_regex_word(char32_t c) noexcept {
  if (c == 0x200C || c == 0x200D) return false;
  return is_word(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE);
}

/// `\d{1,3}(?=(?:\d{3})*\b)`: digits in threes from the right, where the run ends a word.
void digits_from_right(std::string_view text, std::vector<ByteRange>& out) {
  each_run(text, is_decimal_digit, [&](std::size_t begin, std::size_t end) {
    const Char next = decode_char(text, end);
    if (next.bytes != 0 && is_regex_word(next.code)) return;
    auto starts = character_starts(text, begin, end);
    starts.push_back(end);
    const std::size_t digits = starts.size() - 1;
    std::size_t from = 0;
    for (std::size_t to = digits % 3 == 0 ? 3 : digits % 3; to <= digits; to += 3) {
      out.push_back({starts[from], starts[to]});
      from = to;
    }
  });
}

constexpr struct {
  std::string_view pattern;
  NativeMatcher find;
} kNative[] = {
    {"\\s+$", spaces_before_line_end},
    {"(?=(\\d{3})+(?!\\d))", digits_from_right_empty},
    {"(?=(?:\\d{3})+(?!\\d))", digits_from_right_empty},
    {"\\d{1,3}(?=(?:\\d{3})*\\b)", digits_from_right},
};

}  // namespace

NativeMatcher native_matcher(std::string_view oniguruma) noexcept {
  if (!unicode_available()) return nullptr;
  for (const auto& row : kNative) {
    if (row.pattern == oniguruma) return row.find;
  }
  return nullptr;
}

}  // namespace quern::text
