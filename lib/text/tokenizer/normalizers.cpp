// The normalizers, one row of the table each.
#include "text/tokenizer/step.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

using formats::StepKind;
namespace flag = formats::step_flag;

template <NormalForm kForm>
Status unicode_form(const Step&, std::string& text, bool&) {
  text = normalize(text, kForm);
  return {};
}

/// Rebuilds the text character by character; `put` appends what a character becomes.
template <class Put>
void map_chars(std::string& text, bool& at_origin, Put put) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Char c = decode_char(text, at);
    put(out, c.code);
    if (at == 0 && out.empty()) at_origin = false;
    at += c.bytes;
  }
  text = std::move(out);
}

Status lowercase(const Step&, std::string& text, bool& at_origin) {
  map_chars(text, at_origin, append_lowercase);
  return {};
}

Status strip_space(const Step& step, std::string& text, bool& at_origin) {
  std::size_t begin = 0, end = text.size();
  while ((step.view.flags & flag::kLeft) != 0 && begin < end) {
    const Char c = decode_char(text, begin);
    if (!is_space(c.code)) break;
    begin += c.bytes;
  }
  while ((step.view.flags & flag::kRight) != 0 && end > begin) {
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!is_space(decode_char(text, last).code)) break;
    end = last;
  }
  if (begin > 0) at_origin = false;
  text = text.substr(begin, end - begin);
  return {};
}

Status strip_accents(const Step&, std::string& text, bool& at_origin) {
  map_chars(text, at_origin, [](std::string& out, char32_t c) {
    if (!is_mark(c)) append_char(out, c);
  });
  return {};
}

/// After a replacement at the front, the text still begins at its origin only where one character
/// was replaced by something.
void keep_origin(std::string_view text, const std::vector<ByteRange>& ranges, std::string_view with,
                 bool& at_origin) {
  if (ranges.empty() || ranges[0].begin != 0 || ranges[0].end == 0) return;
  if (with.empty() || ranges[0].end != decode_char(text, 0).bytes) at_origin = false;
}

Status replace(const Step& step, std::string& text, bool& at_origin) {
  if (text.empty()) return {};  // Even where the pattern matches nothing.
  std::vector<ByteRange> ranges;
  if (step.regex.has_value()) {
    QUERN_CHECK(step.regex->find_all(text, ranges));
  } else {
    find_literal(text, step.view.text, ranges);
  }
  if (ranges.empty()) return {};
  keep_origin(text, ranges, step.view.content, at_origin);
  std::string out;
  out.reserve(text.size());
  std::size_t copied = 0;
  for (const ByteRange& range : ranges) {
    out.append(text, copied, range.begin - copied);
    out.append(step.view.content);
    copied = range.end;
  }
  out.append(text, copied);
  text = std::move(out);
  return {};
}

Status prepend(const Step& step, std::string& text, bool&) {
  if (!text.empty()) text.insert(0, step.view.text);
  return {};
}

Status bert(const Step& step, std::string& text, bool& at_origin) {
  const std::uint32_t flags = step.view.flags;
  if ((flags & flag::kCleanText) != 0) {
    map_chars(text, at_origin, [](std::string& out, char32_t c) {
      const bool kept_control = c == '\t' || c == '\n' || c == '\r';
      if (c == 0 || c == 0xFFFD || (!kept_control && is_other(c))) return;
      append_char(out, kept_control || is_space(c) ? U' ' : c);
    });
  }
  if ((flags & flag::kChineseChars) != 0) {
    map_chars(text, at_origin, [](std::string& out, char32_t c) {
      const bool apart = is_cjk_ideograph(c);
      if (apart) out.push_back(' ');
      append_char(out, c);
      if (apart) out.push_back(' ');
    });
  }
  if ((flags & flag::kDropAccents) != 0) {
    text = normalize(text, NormalForm::kNfd);
    map_chars(text, at_origin, [](std::string& out, char32_t c) {
      if (!is_nonspacing_mark(c)) append_char(out, c);
    });
  }
  if ((flags & flag::kLower) != 0) map_chars(text, at_origin, append_lowercase);
  return {};
}

Status precompiled(const Step& step, std::string& text, bool&) {
  std::string out;
  out.reserve(text.size());
  const bool longest = (step.view.flags & flag::kLongestMatch) != 0;
  if ((longest ? apply_charsmap_longest : apply_charsmap)(step.view.text, text, out)) {
    text.clear();
    append_lossy(text, out);
  }
  return {};
}

bool is_nmt_dropped(char32_t c) noexcept {
  return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
         c == 0x9F;
}

bool is_nmt_space(char32_t c) noexcept {
  return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
         (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
         c == 0xFFFD;
}

Status nmt(const Step&, std::string& text, bool& at_origin) {
  map_chars(text, at_origin, [](std::string& out, char32_t c) {
    if (!is_nmt_dropped(c)) append_char(out, is_nmt_space(c) ? U' ' : c);
  });
  return {};
}

Status byte_alphabet(const Step&, std::string& text, bool&) {
  text = to_visible(text);
  return {};
}

Status collapse_spaces(const Step&, std::string& text, bool& at_origin) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out.push_back(c);
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  if (!text.empty() && text[0] == ' ') at_origin = false;
  text = std::move(out);
  return {};
}

constexpr struct {
  StepKind kind;
  NormalizeFn run;
} kNormalizers[] = {
    {StepKind::kNfc, unicode_form<NormalForm::kNfc>},
    {StepKind::kNfd, unicode_form<NormalForm::kNfd>},
    {StepKind::kNfkc, unicode_form<NormalForm::kNfkc>},
    {StepKind::kNfkd, unicode_form<NormalForm::kNfkd>},
    {StepKind::kLowercase, lowercase},
    {StepKind::kStripSpace, strip_space},
    {StepKind::kStripAccents, strip_accents},
    {StepKind::kReplaceLiteral, replace},
    {StepKind::kReplaceRegex, replace},
    {StepKind::kPrepend, prepend},
    {StepKind::kBertNormalizer, bert},
    {StepKind::kPrecompiled, precompiled},
    {StepKind::kNmt, nmt},
    {StepKind::kByteAlphabet, byte_alphabet},
    {StepKind::kCollapseSpaces, collapse_spaces},
};

}  // namespace

NormalizeFn find_normalizer(StepKind kind) noexcept {
  for (const auto& row : kNormalizers) {
    if (row.kind == kind) return row.run;
  }
  return nullptr;
}

}  // namespace quern::text
