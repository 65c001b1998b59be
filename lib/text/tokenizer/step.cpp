#include "text/tokenizer/step.h"

#include <array>

#include "text/tokenizer/regex_translate.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {

using formats::StepKind;
namespace flag = formats::step_flag;

namespace {

bool needs_unicode(const StepView& view) noexcept {
  switch (view.kind) {
    case StepKind::kNfc:
    case StepKind::kNfd:
    case StepKind::kNfkc:
    case StepKind::kNfkd:
    case StepKind::kLowercase:
    case StepKind::kStripAccents:
    case StepKind::kBertNormalizer:
    case StepKind::kPrecompiled:
    case StepKind::kBertPreTokenizer:
    case StepKind::kPunctuation:
    case StepKind::kDigits:
    case StepKind::kWhitespace:
      return true;
    default:
      return false;
  }
}

/// One alternative per script, each with its name as mark. Kana count as Han, as does U+30FC.
std::string script_pattern() {
  std::string out = "[\\p{sc:Han}\\p{sc:Hiragana}\\p{sc:Katakana}\\x{30fc}]+(*MARK:Han)";
  for (const char* const* name = kScriptNames; *name != nullptr; ++name) {
    const std::string_view script = *name;
    if (script == "Han" || script == "Hiragana" || script == "Katakana") continue;
    out += "|(?:(?![ \\x{30fc}])\\p{sc:" + std::string(script) +
           "})+(*MARK:" + std::string(script) + ")";
  }
  return out;
}

Result<std::optional<Regex>> regex_of(const StepView& view) {
  const auto wrap = [](Result<Regex> regex) -> Result<std::optional<Regex>> {
    if (!regex.ok()) return std::move(regex).error();
    return std::optional<Regex>(std::move(regex).value());
  };
  switch (view.kind) {
    case StepKind::kReplaceRegex:
    case StepKind::kSplitRegex:
    case StepKind::kDecodeReplaceRegex:
      return wrap(Regex::compile(view.text));
    case StepKind::kByteLevel:
      if ((view.flags & flag::kUseRegex) != 0) return wrap(Regex::compile(kByteLevelPattern));
      return std::optional<Regex>();
    case StepKind::kUnicodeScripts:
      return wrap(Regex::compile_pcre2(script_pattern()));
    default:
      return std::optional<Regex>();
  }
}

/// The largest `number` that a kind allows.
std::uint32_t most_of(StepKind kind) noexcept {
  switch (kind) {
    case StepKind::kSplitLiteral:
    case StepKind::kSplitRegex:
    case StepKind::kPunctuation:
      return 4;
    case StepKind::kMetaspace:
    case StepKind::kDecodeMetaspace:
      return 2;
    default:
      return 0x7fffffffu;
  }
}

bool needs_text(StepKind kind) noexcept {
  return kind == StepKind::kMetaspace || kind == StepKind::kDecodeMetaspace ||
         kind == StepKind::kCharDelimiter || kind == StepKind::kDecodeStrip;
}

}  // namespace

Result<Step> make_step(const StepView& view, std::string_view file) {
  const std::string field = "tokenizer step " + std::to_string(static_cast<int>(view.kind));
  if (needs_unicode(view) && !unicode_available()) {
    return Error(ErrorCode::kUnsupported, "this tokenizer needs Unicode tables")
        .in_file(std::string(file))
        .of(field)
        .want("quern built with QUERN_WITH_UTF8PROC");
  }
  const bool bad_length = view.kind == StepKind::kFixedLength && view.number == 0;
  const bool bad_map = view.kind == StepKind::kPrecompiled && !is_charsmap(view.text);
  if (view.number > most_of(view.kind) || bad_length || bad_map ||
      (needs_text(view.kind) && view.text.empty()) ||
      find_invalid(view.content) != std::string_view::npos ||
      (view.kind != StepKind::kPrecompiled && find_invalid(view.text) != std::string_view::npos)) {
    return Error(ErrorCode::kMalformed, "a tokenizer step has impossible values")
        .in_file(std::string(file))
        .of(field);
  }
  auto regex = regex_of(view);
  if (!regex.ok()) return std::move(regex).error().in_file(std::string(file));
  return Step{view, std::move(regex).value()};
}

Result<std::vector<Step>> make_stage(const ImageView& image, image::Section section,
                                     std::string_view file) {
  std::vector<Step> out;
  const std::size_t n = image.step_count(section);
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    const StepView view = image.step(section, i);
    const bool known = section == image::kNormalizers     ? find_normalizer(view.kind) != nullptr
                       : section == image::kPreTokenizers ? find_pre_tokenizer(view.kind) != nullptr
                                                          : true;
    if (!known) {
      return Error(ErrorCode::kUnsupported, "an unknown tokenizer step")
          .in_file(std::string(file))
          .got(std::to_string(static_cast<int>(view.kind)));
    }
    QUERN_TRY(step, make_step(view, file));
    out.push_back(std::move(step));
  }
  return out;
}

Status run_normalizers(const std::vector<Step>& steps, std::string& text, bool& at_origin) {
  for (const Step& step : steps) {
    QUERN_CHECK(find_normalizer(step.view.kind)(step, text, at_origin));
  }
  return {};
}

void find_literal(std::string_view text, std::string_view what, std::vector<ByteRange>& out) {
  if (what.empty()) {
    for (std::size_t at = 0; at <= text.size();) {
      out.push_back({at, at});
      const std::size_t bytes = decode_char(text, at).bytes;
      at += bytes == 0 ? 1 : bytes;
    }
    return;
  }
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at)) {
    out.push_back({at, at + what.size()});
    at += what.size();
  }
}

namespace {

std::string replace_ranges(std::string_view text, const std::vector<ByteRange>& ranges,
                           std::string_view with) {
  std::string out;
  out.reserve(text.size());
  std::size_t copied = 0;
  for (const ByteRange& range : ranges) {
    out.append(text.substr(copied, range.begin - copied));
    out.append(with);
    copied = range.end;
  }
  out.append(text.substr(copied));
  return out;
}

}  // namespace

std::string replace_literal(std::string_view text, std::string_view what, std::string_view with) {
  std::vector<ByteRange> ranges;
  find_literal(text, what, ranges);
  return replace_ranges(text, ranges, with);
}

Result<std::string> replace_regex(const Regex& regex, std::string_view text,
                                  std::string_view with) {
  if (text.empty()) return std::string();  // Even where the pattern matches nothing.
  std::vector<ByteRange> ranges;
  QUERN_CHECK(regex.find_all(text, ranges));
  return replace_ranges(text, ranges, with);
}

namespace {

/// Both directions; characters of the alphabet lie below 0x144.
struct Alphabet {
  std::array<char32_t, 256> visible{};
  std::array<std::int16_t, 0x144> byte{};

  constexpr Alphabet() {
    for (auto& b : byte) b = -1;
    char32_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const bool as_is = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      visible[b] = as_is ? static_cast<char32_t>(b) : next++;
      byte[visible[b]] = static_cast<std::int16_t>(b);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

char32_t visible_of_byte(unsigned char byte) noexcept { return kAlphabet.visible[byte]; }

int byte_of_visible(char32_t c) noexcept {
  return c < kAlphabet.byte.size() ? kAlphabet.byte[c] : -1;
}

std::string to_visible(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char c : bytes) {
    const char32_t code = kAlphabet.visible[static_cast<unsigned char>(c)];
    if (code < 0x80) {
      out.push_back(static_cast<char>(code));
    } else {
      append_char(out, code);
    }
  }
  return out;
}

}  // namespace quern::text
