#include "text/jinja/lexer.h"

#include <array>
#include <charconv>

#include "text/jinja/unicode.h"

namespace quern::text::jinja {
namespace {

/// How a tag treats the white space beside it.
enum class Strip : std::uint8_t { kNone, kMinus, kPlus };

bool is_name_start(char32_t c) { return c == '_' || is_alpha(c); }
bool is_name_part(char32_t c) { return is_name_start(c) || is_decimal(c); }
bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

/// \return the source with every line end as \n and one final line end removed.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) QUERN_CHECK(lex_data());
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Status lex_data();
  Status lex_tag(bool block);
  Status lex_token();
  Status lex_number();
  Status lex_string();
  Status lex_operator();
  Status skip_comment();
  Status lex_raw(std::size_t body);
  std::size_t find_tag(std::size_t from) const;
  std::size_t match_raw_begin(std::size_t tag) const;
  std::size_t match_end(std::string_view mark, std::size_t at, bool plus_and_trim) const;
  std::size_t strip_before(std::size_t begin, std::size_t tag, Strip strip, bool lstrip) const;
  Status balance(char c);

  Strip strip_at(std::size_t at) const {
    if (at >= source_.size()) return Strip::kNone;
    if (source_[at] == '-') return Strip::kMinus;
    return source_[at] == '+' ? Strip::kPlus : Strip::kNone;
  }
  std::size_t skip_space(std::size_t at) const {
    while (at < source_.size()) {
      std::size_t next = at;
      if (!is_space(decode_next(source_, next))) break;
      at = next;
    }
    return at;
  }
  bool starts(std::size_t at, std::string_view text) const {
    return std::string_view(source_).substr(at, text.size()) == text;
  }
  /// Moves to `to`, counting lines and columns.
  void advance(std::size_t to) {
    while (at_ < to) {
      if (decode_next(source_, at_) == '\n') {
        ++position_.line;
        position_.column = 1;
      } else {
        ++position_.column;
      }
    }
  }
  Token& push(TokenKind kind, std::string_view text) {
    tokens_.push_back({kind, position_, std::string(text), 0, 0});
    return tokens_.back();
  }
  Error fail(std::string message) const {
    return locate(Error(ErrorCode::kMalformed, std::move(message)), position_);
  }

  std::string source_;
  std::size_t at_ = 0;
  Position position_;
  bool line_starting_ = true;  ///< Whether what was read last ended with a line end.
  std::string brackets_;       ///< The closing brackets that are awaited.
  std::vector<Token> tokens_;
};

std::size_t Lexer::find_tag(std::size_t from) const {
  for (std::size_t at = source_.find('{', from); at != std::string::npos;
       at = source_.find('{', at + 1)) {
    if (at + 1 < source_.size() &&
        std::string_view("{%#").find(source_[at + 1]) != std::string_view::npos) {
      return at;
    }
  }
  return source_.size();
}

/// \return the offset after `{% raw %}` at `tag`, or npos if that is another tag.
std::size_t Lexer::match_raw_begin(std::size_t tag) const {
  std::size_t at = tag + 2;
  if (strip_at(at) != Strip::kNone) ++at;
  at = skip_space(at);
  if (!starts(at, "raw")) return std::string::npos;
  at = skip_space(at + 3);
  if (starts(at, "-%}")) return skip_space(at + 3);
  return starts(at, "%}") ? at + 2 : std::string::npos;
}

/// \return the offset after the closing `mark` at `at` with its white space control, or npos.
std::size_t Lexer::match_end(std::string_view mark, std::size_t at, bool plus_and_trim) const {
  if (starts(at, "-") && starts(at + 1, mark)) return skip_space(at + 1 + mark.size());
  if (plus_and_trim && starts(at, "+") && starts(at + 1, mark)) return at + 1 + mark.size();
  if (!starts(at, mark)) return std::string::npos;
  at += mark.size();
  return plus_and_trim && starts(at, "\n") ? at + 1 : at;
}

/// \return where the data [begin, tag) ends once the tag has stripped white space before it.
std::size_t Lexer::strip_before(std::size_t begin, std::size_t tag, Strip strip,
                                bool lstrip) const {
  if (strip == Strip::kMinus) {
    std::size_t end = begin;
    for (std::size_t at = begin; at < tag;) {
      if (!is_space(decode_next(source_, at))) end = at;
    }
    return end;
  }
  if (strip == Strip::kPlus || !lstrip) return tag;
  const std::size_t newline = std::string_view(source_).substr(begin, tag - begin).rfind('\n');
  if (newline == std::string_view::npos && !line_starting_) return tag;
  const std::size_t line = newline == std::string_view::npos ? begin : begin + newline + 1;
  return skip_space(line) >= tag ? line : tag;
}

Status Lexer::lex_data() {
  const std::size_t tag = find_tag(at_);
  if (tag == source_.size()) {
    push(TokenKind::kData, std::string_view(source_).substr(at_));
    advance(tag);
    return {};
  }
  const char kind = source_[tag + 1];
  const Strip strip = strip_at(tag + 2);
  const std::size_t end = strip_before(at_, tag, strip, kind != '{');
  if (end > at_) push(TokenKind::kData, std::string_view(source_).substr(at_, end - at_));
  advance(tag);
  if (kind == '#') return skip_comment();
  if (kind == '%') {
    if (const std::size_t body = match_raw_begin(tag); body != std::string::npos)
      return lex_raw(body);
  }
  push(kind == '{' ? TokenKind::kPrintBegin : TokenKind::kBlockBegin, "");
  advance(tag + (strip == Strip::kNone ? 2 : 3));
  return lex_tag(kind == '%');
}

Status Lexer::skip_comment() {
  std::size_t at = at_ + (strip_at(at_ + 2) == Strip::kNone ? 2 : 3);
  for (; at < source_.size(); ++at) {
    const std::size_t end = match_end("#}", at, true);
    if (end == std::string::npos) continue;
    line_starting_ = source_[end - 1] == '\n';
    advance(end);
    return {};
  }
  return fail("a comment is not closed");
}

Status Lexer::lex_raw(std::size_t body) {
  for (std::size_t tag = source_.find("{%", body); tag != std::string::npos;
       tag = source_.find("{%", tag + 1)) {
    const Strip strip = strip_at(tag + 2);
    std::size_t at = skip_space(tag + (strip == Strip::kNone ? 2 : 3));
    if (!starts(at, "endraw")) continue;
    const std::size_t end = match_end("%}", skip_space(at + 6), true);
    if (end == std::string::npos) continue;
    advance(body);
    line_starting_ = source_[body - 1] == '\n';
    const std::size_t stop = strip_before(body, tag, strip, true);
    if (stop > body) push(TokenKind::kData, std::string_view(source_).substr(body, stop - body));
    line_starting_ = source_[end - 1] == '\n';
    advance(end);
    return {};
  }
  return fail("a raw block is not closed");
}

Status Lexer::lex_tag(bool block) {
  const std::string_view mark = block ? "%}" : "}}";
  brackets_.clear();
  while (at_ < source_.size()) {
    if (const std::size_t end = match_end(mark, at_, block);
        brackets_.empty() && end != std::string::npos) {
      push(block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, "");
      line_starting_ = source_[end - 1] == '\n';
      advance(end);
      return {};
    }
    if (const std::size_t next = skip_space(at_); next != at_) {
      advance(next);
      continue;
    }
    QUERN_CHECK(lex_token());
  }
  return fail(block ? "a block tag is not closed" : "a print tag is not closed");
}

Status Lexer::lex_token() {
  const char c = source_[at_];
  if (is_ascii_digit(c)) return lex_number();
  if (c == '"' || c == '\'') return lex_string();
  std::size_t end = at_;
  if (!is_name_start(decode_next(source_, end))) return lex_operator();
  for (std::size_t next = end; next < source_.size();) {
    if (!is_name_part(decode_next(source_, next))) break;
    end = next;
  }
  push(TokenKind::kName, std::string_view(source_).substr(at_, end - at_));
  advance(end);
  return {};
}

Status Lexer::lex_string() {
  const char quote = source_[at_];
  std::size_t end = at_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) return fail("a string is not closed");
  auto text = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1));
  if (!text.ok()) return locate(std::move(text).error(), position_);
  push(TokenKind::kString, *text);
  advance(end + 1);
  return {};
}

/// Digits of `base`, single underscores allowed between them. \return the offset after them.
std::size_t scan_digits(std::string_view source, std::size_t at, int base, std::string& digits) {
  const auto is_digit_of = [base](char c) {
    const int value = is_ascii_digit(c) ? c - '0' : (c | 0x20) >= 'a' ? (c | 0x20) - 'a' + 10 : 99;
    return value < base;
  };
  while (at < source.size()) {
    std::size_t digit = at;
    if (source[digit] == '_' && digit + 1 < source.size()) ++digit;
    if (!is_digit_of(source[digit])) break;
    digits.push_back(source[digit]);
    at = digit + 1;
  }
  return at;
}

Status Lexer::lex_number() {
  std::string digits;
  int base = 10;
  std::size_t begin = at_;
  if (source_[at_] == '0' && at_ + 1 < source_.size()) {
    const char mark = static_cast<char>(source_[at_ + 1] | 0x20);
    base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    if (base != 10) begin += 2;
  }
  std::size_t end = scan_digits(source_, begin, base, digits);
  if (base != 10 && digits.empty()) return fail("a number without digits");
  const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
  bool is_float = false;
  if (base == 10 && !after_dot) {
    if (end + 1 < source_.size() && source_[end] == '.' && is_ascii_digit(source_[end + 1])) {
      digits.push_back('.');
      end = scan_digits(source_, end + 1, 10, digits);
      is_float = true;
    }
    std::size_t exponent = end;
    if (exponent < source_.size() && (source_[exponent] | 0x20) == 'e') {
      ++exponent;
      std::string tail = "e";
      if (strip_at(exponent) != Strip::kNone) tail.push_back(source_[exponent++]);
      if (exponent < source_.size() && is_ascii_digit(source_[exponent])) {
        end = scan_digits(source_, exponent, 10, tail);
        digits += tail;
        is_float = true;
      }
    }
  }
  Token& token = push(is_float ? TokenKind::kFloat : TokenKind::kInteger, "");
  if (is_float) {
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), token.number);
    if (parsed.ec != std::errc())
      return locate(Error(ErrorCode::kOutOfRange, "a float beyond 64 bits"), position_);
  } else {
    if (base == 10 && digits.size() > 1 && digits[0] == '0' &&
        digits.find_first_not_of('0') != std::string::npos) {
      return fail("a decimal number begins with 0");
    }
    const auto parsed =
        std::from_chars(digits.data(), digits.data() + digits.size(), token.integer, base);
    if (parsed.ec != std::errc())
      return locate(Error(ErrorCode::kOutOfRange, "an integer beyond 64 bits"), position_);
  }
  advance(end);
  return {};
}

Status Lexer::balance(char c) {
  if (c == '(' || c == '[' || c == '{') {
    brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
  } else if (c == ')' || c == ']' || c == '}') {
    if (brackets_.empty() || brackets_.back() != c)
      return fail(std::string("unexpected '") + c + "'");
    brackets_.pop_back();
  }
  return {};
}

Status Lexer::lex_operator() {
  static constexpr std::array<std::string_view, 26> kOperators = {
      "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
  for (const std::string_view op : kOperators) {
    if (!starts(at_, op)) continue;
    QUERN_CHECK(balance(op[0]));
    push(TokenKind::kOperator, op);
    advance(at_ + op.size());
    return {};
  }
  std::size_t end = at_;
  const char32_t c = decode_next(source_, end);
  return fail(is_printable(c) ? "unexpected character '" + source_.substr(at_, end - at_) + "'"
                              : "unexpected control character");
}

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace quern::text::jinja
