#include "text/tokenizer/regex_class.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <vector>

#include "text/tokenizer/regex_translate.h"
#include "text/tokenizer/utf8.h"

/// With the marks that became alphabetic after PCRE2 10.42.
#define QUERN_ALPHA_MEMBERS \
  "\\p{Alphabetic}\\x{363}-\\x{36f}\\x{f82}\\x{f83}\\x{1dd3}-\\x{1de6}\\x{11080}\\x{11081}"
#define QUERN_WORD_MEMBERS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

namespace quern::text {

const char* const kSpaceClass =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
const char* const kWordClass = QUERN_WORD_MEMBERS;
const char* const kLoneWordClass = QUERN_WORD_MEMBERS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

Error regex_error(const char* message, std::string_view pattern) {
  return Error(ErrorCode::kMalformed, message)
      .of("pattern")
      .got(std::string(pattern.substr(0, 120)));
}

Error foreign_escape(std::string_view pattern, std::size_t at) {
  return Error(ErrorCode::kUnsupported, "an escape of a pattern is not implemented")
      .of("pattern")
      .at(at)
      .got(std::string(pattern.substr(at, 2)));
}

namespace {

constexpr int kMaxDepth = 16;
constexpr const char* kHexClass = "0-9a-fA-F";

/// Long names of properties and what PCRE2 calls them, as class members.
constexpr struct {
  const char* name;  // Lower case, without blanks, hyphens, underscores.
  const char* members;
} kProperties[] = {
    {"letter", "\\p{L}"},
    {"mark", "\\p{M}"},
    {"number", "\\p{N}"},
    {"punctuation", "\\p{P}"},
    {"punct", "\\p{P}"},
    {"symbol", "\\p{S}"},
    {"separator", "\\p{Z}"},
    {"other", "\\p{C}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"spacingmark", "\\p{Mc}"},
    {"enclosingmark", "\\p{Me}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
    {"connectorpunctuation", "\\p{Pc}"},
    {"dashpunctuation", "\\p{Pd}"},
    {"mathsymbol", "\\p{Sm}"},
    {"currencysymbol", "\\p{Sc}"},
    {"control", "\\p{Cc}"},
    {"cntrl", "\\p{Cc}"},
    {"alpha", QUERN_ALPHA_MEMBERS},
    {"alphabetic", QUERN_ALPHA_MEMBERS},
    {"alnum", QUERN_ALPHA_MEMBERS "\\p{Nd}"},
    {"digit", "\\p{Nd}"},
    {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}\\x{10fc}"},
    {"blank", "\\x{9}\\p{Zs}"},
    {"space", nullptr},
    {"whitespace", nullptr},
    {"xdigit", kHexClass},
    {"word", QUERN_WORD_MEMBERS},
    {"any", "\\x{0}-\\x{10ffff}"},
};

std::string plain_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c != ' ' && c != '_' && c != '-') {
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

/// `\p{…}`, `\P{…}`, `\p{^…}`.
RegexEscape read_property(std::string_view in, std::size_t at, const char* word) {
  RegexEscape out;
  out.negated = in[at + 1] == 'P';
  const std::size_t end = in.find('}', at);
  if (end == std::string_view::npos) {  // PCRE2 says what is wrong with it.
    out.bytes = in.size() - at;
    out.verbatim = in.substr(at);
    return out;
  }
  std::string_view name = in.substr(at + 3, end - at - 3);
  out.bytes = end + 1 - at;
  if (!name.empty() && name[0] == '^') {
    out.negated = !out.negated;
    name.remove_prefix(1);
  }
  const std::string plain = plain_name(name);
  if (plain == "word") {
    out.members = word;
    return out;
  }
  for (const auto& row : kProperties) {
    if (plain == row.name) {
      out.members = row.members != nullptr ? row.members : kSpaceClass;
      return out;
    }
  }
  for (const char* const* script = kScriptNames; *script != nullptr; ++script) {
    if (plain == plain_name(*script)) {
      out.members = "\\p{sc:" + std::string(*script) + "}";
      return out;
    }
  }
  out.members = "\\p{" + std::string(name) + "}";
  return out;
}

RegexEscape with_members(const char* members, bool negated) {
  RegexEscape out;
  out.bytes = 2;
  out.members = members;
  out.negated = negated;
  return out;
}

bool is_hex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// \return the end of at most `most` characters from `at` on that `is` accepts.
std::size_t run_end(std::string_view in, std::size_t at, std::size_t most, bool (*is)(char)) {
  std::size_t end = at;
  while (end < in.size() && end < at + most && is(in[end])) ++end;
  return end;
}

/// What both call the same, up to `end`.
RegexEscape as_written(std::string_view in, std::size_t at, std::size_t end) {
  RegexEscape out;
  out.bytes = end - at;
  out.verbatim = in.substr(at, out.bytes);
  return out;
}

/// A letter that Oniguruma does not know as an escape stands for itself.
RegexEscape letter(std::string_view in, std::size_t at) {
  RegexEscape out = as_written(in, at, at + 2);
  out.verbatim.erase(0, 1);
  return out;
}

/// `\uHHHH`, `\xHH`, `\x{H…}`, `\o{…}`: one character.
RegexEscape read_code(std::string_view in, std::size_t at) {
  if (at + 2 < in.size() && in[at + 2] == '{' && in[at + 1] != 'u') {
    const std::size_t end = in.find('}', at);
    return as_written(in, at, end == std::string_view::npos ? in.size() : end + 1);
  }
  const std::size_t end = run_end(in, at + 2, in[at + 1] == 'u' ? 4 : 2, is_hex);
  if (end == at + 2 && in[at + 1] != 'x') return letter(in, at);
  RegexEscape out;
  out.bytes = end - at;
  out.verbatim = "\\x{0" + std::string(in.substr(at + 2, end - at - 2)) + "}";
  return out;
}

}  // namespace

RegexEscape read_regex_escape(std::string_view in, std::size_t at, bool in_class) {
  const char* const word = in_class ? kWordClass : kLoneWordClass;
  switch (in[at + 1]) {
    case 's':
      return with_members(kSpaceClass, false);
    case 'S':
      return with_members(kSpaceClass, true);
    case 'w':
      return with_members(word, false);
    case 'W':
      return with_members(word, true);
    case 'd':
      return with_members("\\p{Nd}", false);
    case 'D':
      return with_members("\\p{Nd}", true);
    case 'h':
      return with_members(kHexClass, false);
    case 'H':
      return with_members(kHexClass, true);
    case 'p':
    case 'P':
      return at + 2 < in.size() && in[at + 2] == '{' ? read_property(in, at, word) : letter(in, at);
    case 'u':
    case 'x':
    case 'o':
      return read_code(in, at);
    case 'Q':
    case 'E':
      return letter(in, at);
    default:
      break;
  }
  if (is_digit(in[at + 1])) return as_written(in, at, run_end(in, at + 1, 3, is_digit));
  RegexEscape out;
  if (in[at + 1] == 'X') {
    out.bytes = 2;
    out.is_foreign = true;
  } else if (in[at + 1] == 'c') {
    out = as_written(in, at, std::min(at + 3, in.size()));
  } else if (in[at + 1] == 'b' || in[at + 1] == 'B') {
    out.bytes = 2;
    out.word_boundary = true;
    out.negated = in[at + 1] == 'B';
  } else if (in[at + 1] == 'v') {
    out.bytes = 2;
    out.verbatim = "\\x{b}";
  } else {
    out.bytes = 1 + decode_char(in, at + 1).bytes;
    out.verbatim = in.substr(at, out.bytes);
    const auto c = static_cast<unsigned char>(in[at + 1]);
    if (c >= 0x80) out.verbatim = in.substr(at + 1, out.bytes - 1);
  }
  return out;
}

namespace {

/// `[:name:]`; unlike \\p{Punct} it counts symbols as punctuation.
std::string posix_class(std::string_view name) {
  if (name == "punct") return "\\p{P}\\p{S}";
  for (const auto& row : kProperties) {
    if (name == row.name) return row.members != nullptr ? row.members : kSpaceClass;
  }
  return "[:" + std::string(name) + ":]";
}

/// A class between its brackets, or one side of an intersection.
struct Union {
  std::string members;
  std::vector<std::string> alternatives;

  std::string text(bool negated) const {
    if (alternatives.empty()) {
      if (members.empty()) return negated ? "(?s:.)" : "(?!)";
      return (negated ? "[^" : "[") + members + "]";
    }
    std::string out = "(?:";
    if (!members.empty()) out += "[" + members + "]|";
    for (const std::string& alternative : alternatives) out += alternative + "|";
    out.back() = ')';
    return negated ? "(?:(?!" + out + ")(?s:.))" : out;
  }
};

class ClassReader {
 public:
  ClassReader(std::string_view in, std::size_t& at, int depth) : in_(in), at_(at), depth_(depth) {}

  Result<std::string> run() {
    if (depth_ > kMaxDepth)
      return Error(ErrorCode::kLimit, "classes nest too deeply").of("pattern");
    ++at_;
    const bool negated = at_ < in_.size() && in_[at_] == '^';
    if (negated) ++at_;
    bool is_first = true;
    while (true) {
      if (at_ >= in_.size()) return regex_error("a character class does not close", in_);
      if (in_[at_] == ']' && !is_first) break;
      QUERN_CHECK(member(is_first));
      is_first = false;
    }
    ++at_;
    if (sides_.empty()) return current_.text(negated);
    std::string both;
    for (const std::string& side : sides_) both += "(?=" + side + ")";
    both = "(?:" + both + current_.text(false) + ")";
    return negated ? "(?:(?!" + both + ")(?s:.))" : both;
  }

 private:
  Status member(bool is_first) {
    if (in_.substr(at_, 2) == "&&") {
      at_ += 2;
      sides_.push_back(current_.text(false));
      current_ = Union();
      return {};
    }
    if (in_[at_] == ']' && is_first) {
      current_.members += "\\]";
      ++at_;
      return {};
    }
    if (in_[at_] == '[') return bracket();
    if (in_[at_] == '\\') return escape();
    const Char c = decode_char(in_, at_);
    current_.members += in_.substr(at_, c.bytes);
    at_ += c.bytes;
    return {};
  }

  Status bracket() {
    if (in_.substr(at_, 2) == "[:") {
      const std::size_t end = in_.find(":]", at_);
      if (end != std::string_view::npos) {
        current_.members += posix_class(in_.substr(at_ + 2, end - at_ - 2));
        at_ = end + 2;
        return {};
      }
    }
    QUERN_TRY(nested, translate_class(in_, at_, depth_ + 1));
    current_.alternatives.push_back(std::move(nested));
    return {};
  }

  Status escape() {
    if (at_ + 1 >= in_.size()) return regex_error("a lone backslash ends the pattern", in_);
    RegexEscape found = read_regex_escape(in_, at_, true);
    if (found.is_foreign) return foreign_escape(in_, at_);
    at_ += found.bytes;
    if (found.word_boundary) {  // Inside a class \b is a backspace.
      current_.members += "\\x{8}";
    } else if (found.members.empty()) {
      current_.members += found.verbatim;
    } else if (!found.negated) {
      current_.members += found.members;
    } else if (found.members.rfind("\\p{", 0) == 0 &&
               found.members.find("\\p{", 1) == std::string::npos) {
      found.members[1] = 'P';
      current_.members += found.members;
    } else {
      current_.alternatives.push_back("[^" + found.members + "]");
    }
    return {};
  }

  std::string_view in_;
  std::size_t& at_;
  int depth_;
  Union current_;
  std::vector<std::string> sides_;
};

}  // namespace

Result<std::string> translate_class(std::string_view in, std::size_t& at, int depth) {
  return ClassReader(in, at, depth).run();
}

}  // namespace quern::text
