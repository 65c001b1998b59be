#include "text/tokenizer/regex_translate.h"

#include <vector>

#include "text/tokenizer/regex_class.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

constexpr std::size_t kNoAtom = static_cast<std::size_t>(-1);

/// Walks the pattern once, remembering where the last atom began so that it can be wrapped.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    while (at_ < in_.size()) QUERN_CHECK(step());
    if (!groups_.empty()) return regex_error("a group does not close", in_);
    out_.append(options_, ')');
    if (has_line_break_) out_.insert(0, "(*NO_AUTO_POSSESS)");
    if (has_alternatives_first_) out_.insert(0, "(*NO_START_OPT)");
    return std::move(out_);
  }

 private:
  Status step() {
    switch (in_[at_]) {
      case '\\':
        return escape();
      case '[':
        return character_class();
      case '(':
        return open_group();
      case ')':
        return close_group();
      case '{':
        return braces();
      case '*':
      case '+':
      case '?':
        quantifier();
        return {};
      case '|':
        atom_ = kNoAtom;
        out_ += in_[at_++];
        if (!groups_.empty()) groups_.back().has_alternatives = true;
        return {};
      default:
        literal();
        return {};
    }
  }

  void literal() {
    atom_ = out_.size();
    const Char c = decode_char(in_, at_);
    out_ += in_.substr(at_, c.bytes);
    at_ += c.bytes;
  }

  Status escape() {
    if (at_ + 1 >= in_.size()) return regex_error("a lone backslash ends the pattern", in_);
    atom_ = out_.size();
    const RegexEscape found = read_regex_escape(in_, at_, false);
    if (found.is_foreign) return foreign_escape(in_, at_);
    has_line_break_ = has_line_break_ || found.verbatim == "\\R";
    at_ += found.bytes;
    if (!found.members.empty()) {
      out_ += found.negated ? "[^" : "[";
      out_ += found.members;
      out_ += "]";
    } else if (found.word_boundary) {
      const std::string word = std::string("[") + kLoneWordClass + "]";
      out_ += found.negated
                  ? "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))"
                  : "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
    } else {
      out_ += found.verbatim;
    }
    return {};
  }

  Status character_class() {
    atom_ = out_.size();
    QUERN_TRY(text, translate_class(in_, at_, 0));
    out_ += text;
    return {};
  }

  /// Copies the head of a group; `m` (dot matches newline) is called `s` by PCRE2.
  Status open_group() {
    const std::size_t start = out_.size();
    out_ += in_[at_++];
    if (at_ >= in_.size() || in_[at_] != '?') {
      enter_group(start);
      return {};
    }
    if (in_.substr(at_, 2) == "?#") {
      const std::size_t end = in_.find(')', at_);
      if (end == std::string_view::npos) return regex_error("a comment does not close", in_);
      out_.resize(start);
      at_ = end + 1;
      return {};
    }
    out_ += in_[at_++];
    bool is_flags = false;
    while (at_ < in_.size()) {
      const char c = in_[at_];
      const bool flag = c == 'i' || c == 'm' || c == 'x' || c == '-';
      if (!flag) break;
      is_flags = true;
      out_ += c == 'm' ? 's' : c;
      ++at_;
    }
    if (is_flags && at_ < in_.size() && in_[at_] == ')') {
      // To the end of the group that it is in, whose alternatives from here on become one part.
      atom_ = kNoAtom;
      out_ += ':';
      ++at_;
      ++options_;
      return {};
    }
    enter_group(start);
    return {};
  }

  void enter_group(std::size_t start) {
    groups_.push_back({start, options_, false});
    options_ = 0;
    atom_ = kNoAtom;
  }

  Status close_group() {
    if (groups_.empty()) return regex_error("a group closes that never opened", in_);
    out_.append(options_, ')');
    atom_ = groups_.back().start;
    options_ = groups_.back().options;
    const bool has_alternatives = groups_.back().has_alternatives;
    groups_.pop_back();
    out_ += in_[at_++];
    if (has_alternatives) {
      if (!groups_.empty()) groups_.back().has_alternatives = true;
      has_alternatives_first_ = has_alternatives_first_ || something_follows();
    }
    return {};
  }

  /// Whether the group that just closed is followed by more than a quantifier.
  bool something_follows() const {
    const std::size_t next = in_.find_first_not_of("*+?{}0123456789,", at_);
    return next != std::string_view::npos && in_[next] != '|' && in_[next] != ')';
  }

  void quantifier() {
    out_ += in_[at_++];
    if (at_ < in_.size() && (in_[at_] == '?' || in_[at_] == '+')) out_ += in_[at_++];
  }

  /// `{n,m}`; Ruby's `{n,m}+` repeats the whole and is not possessive, `{n}?` makes it optional.
  Status braces() {
    std::size_t end = at_ + 1;
    while (end < in_.size() && ((in_[end] >= '0' && in_[end] <= '9') || in_[end] == ',')) ++end;
    const std::string_view inside = in_.substr(at_ + 1, end - at_ - 1);
    const bool is_interval = end < in_.size() && in_[end] == '}' && !inside.empty() &&
                             inside != "," && inside.find(',') == inside.rfind(',');
    if (!is_interval || atom_ == kNoAtom) {
      atom_ = out_.size();
      out_ += "\\{";
      ++at_;
      return {};
    }
    out_ += inside[0] == ',' ? "{0" : "{";
    out_ += inside;
    out_ += '}';
    at_ = end + 1;
    const char next = at_ < in_.size() ? in_[at_] : '\0';
    const bool fixed = inside.find(',') == std::string_view::npos;
    if (next == '+' || (next == '?' && fixed)) {
      out_.insert(atom_, "(?:");
      out_ += ')';
    } else if (next == '?') {
      out_ += in_[at_++];
    }
    return {};
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
  struct Group {
    std::size_t start = 0;
    std::size_t options = 0;  // Of the group around it.
    bool has_alternatives = false;
  };
  std::vector<Group> groups_;
  std::size_t options_ = 0;  // Settings of options that are open in the innermost group.
  std::size_t atom_ = kNoAtom;
  // What PCRE2 10.42 gets wrong: its JIT skips matches of a repeated character behind a group of
  // alternatives, and it takes \R for something that `.` never matches.
  bool has_alternatives_first_ = false, has_line_break_ = false;
};

}  // namespace

Result<std::string> translate_regex(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace quern::text
