// Normalizers, pre-tokenizers and decoders of tokenizer.json, one row of a table each.
#include <array>

#include "formats/tokenizer_fields.h"

namespace quern::formats {
namespace {

using Steps = std::vector<TokenizerStep>;

template <StepKind kKind>
Status plain(const JsonFields&, Steps& out) {
  TokenizerStep step;
  step.kind = kKind;
  out.push_back(std::move(step));
  return {};
}

/// Steps made of a pattern and a content.
template <StepKind kLiteral, StepKind kRegex>
Status replace(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  QUERN_CHECK(read_tokenizer_pattern(fields, kLiteral, kRegex, step));
  QUERN_TRY(content, fields.text("content"));
  step.content = std::move(content);
  out.push_back(std::move(step));
  return {};
}

template <StepKind kKind>
Status metaspace(const JsonFields& fields, Steps& out) {
  QUERN_TRY(step, read_metaspace(fields, kKind));
  out.push_back(std::move(step));
  return {};
}

Status strip_space(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kStripSpace;
  QUERN_TRY(left, fields.flag("strip_left"));
  QUERN_TRY(right, fields.flag("strip_right"));
  step.flags = (left ? step_flag::kLeft : 0) | (right ? step_flag::kRight : 0);
  out.push_back(std::move(step));
  return {};
}

Status prepend(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kPrepend;
  QUERN_TRY(text, fields.text("prepend"));
  if (text.empty()) {  // The library then repeats characters under a ByteLevel pre-tokenizer.
    return fields.error(ErrorCode::kUnsupported, "prepend", "nothing is prepended")
        .want("at least one character");
  }
  step.text = std::move(text);
  out.push_back(std::move(step));
  return {};
}

Status bert_normalizer(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kBertNormalizer;
  QUERN_TRY(clean, fields.flag_or("clean_text", true));
  QUERN_TRY(chinese, fields.flag_or("handle_chinese_chars", true));
  QUERN_TRY(lower, fields.flag_or("lowercase", true));
  QUERN_TRY(accents, fields.flag_or("strip_accents", lower));
  step.flags = (clean ? step_flag::kCleanText : 0) | (chinese ? step_flag::kChineseChars : 0) |
               (accents ? step_flag::kDropAccents : 0) | (lower ? step_flag::kLower : 0);
  out.push_back(std::move(step));
  return {};
}

/// Base64 (RFC 4648), padding optional at the end.
bool decode_base64(std::string_view text, std::string& out) {
  std::uint32_t bits = 0;
  int held = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (const char c : text) {
    std::uint32_t value = 0;
    if (c >= 'A' && c <= 'Z') {
      value = static_cast<std::uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      value = static_cast<std::uint32_t>(c - 'a' + 26);
    } else if (c >= '0' && c <= '9') {
      value = static_cast<std::uint32_t>(c - '0' + 52);
    } else if (c == '+' || c == '/') {
      value = c == '+' ? 62 : 63;
    } else {
      return false;
    }
    bits = (bits << 6) | value;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out.push_back(static_cast<char>((bits >> held) & 0xff));
    }
  }
  return true;
}

Status precompiled(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kPrecompiled;
  QUERN_TRY(encoded, fields.text("precompiled_charsmap"));
  if (!decode_base64(encoded, step.text)) {
    return fields.error(ErrorCode::kMalformed, "precompiled_charsmap", "the map is not Base64");
  }
  out.push_back(std::move(step));
  return {};
}

Status byte_level(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kByteLevel;
  QUERN_TRY(prefix, fields.flag_or("add_prefix_space", true));
  QUERN_TRY(regex, fields.flag_or("use_regex", true));
  step.flags = (prefix ? step_flag::kPrefixSpace : 0) | (regex ? step_flag::kUseRegex : 0);
  out.push_back(std::move(step));
  return {};
}

Status split(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  QUERN_CHECK(read_tokenizer_pattern(fields, StepKind::kSplitLiteral, StepKind::kSplitRegex, step));
  QUERN_TRY(behavior, read_split_behavior(fields, ""));
  QUERN_TRY(invert, fields.flag_or("invert", false));
  step.number = static_cast<std::uint32_t>(behavior);
  step.flags = invert ? step_flag::kInvert : 0;
  out.push_back(std::move(step));
  return {};
}

Status punctuation(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kPunctuation;
  QUERN_TRY(behavior, read_split_behavior(fields, "Isolated"));
  step.number = static_cast<std::uint32_t>(behavior);
  out.push_back(std::move(step));
  return {};
}

Status digits(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kDigits;
  QUERN_TRY(individual, fields.flag_or("individual_digits", false));
  step.flags = individual ? step_flag::kIndividual : 0;
  out.push_back(std::move(step));
  return {};
}

Status char_delimiter(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kCharDelimiter;
  QUERN_TRY(text, fields.text("delimiter"));
  if (text.empty()) {
    return fields.error(ErrorCode::kMalformed, "delimiter", "the delimiter is empty")
        .want("one character");
  }
  step.text = std::move(text);
  out.push_back(std::move(step));
  return {};
}

Status fixed_length(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kFixedLength;
  QUERN_TRY(length, fields.number_or("length", 5));
  if (length == 0) {
    return fields.error(ErrorCode::kOutOfRange, "length", "the length is 0").want("at least 1");
  }
  step.number = length;
  out.push_back(std::move(step));
  return {};
}

Status decode_wordpiece(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kDecodeWordPiece;
  QUERN_TRY(prefix, fields.text_or("prefix", "##"));
  QUERN_TRY(cleanup, fields.flag_or("cleanup", true));
  step.text = std::move(prefix);
  step.flags = cleanup ? step_flag::kCleanup : 0;
  out.push_back(std::move(step));
  return {};
}

Status decode_bpe(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kDecodeBpe;
  QUERN_TRY(suffix, fields.text_or("suffix", "</w>"));
  step.text = std::move(suffix);
  out.push_back(std::move(step));
  return {};
}

Status decode_strip(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kDecodeStrip;
  QUERN_TRY(content, fields.text("content"));
  QUERN_TRY(start, fields.number_or("start", 0));
  QUERN_TRY(stop, fields.number_or("stop", 0));
  if (content.empty()) {
    return fields.error(ErrorCode::kMalformed, "content", "the content is empty")
        .want("one character");
  }
  step.text = std::move(content);
  step.number = start;
  step.number2 = stop;
  out.push_back(std::move(step));
  return {};
}

Status decode_ctc(const JsonFields& fields, Steps& out) {
  TokenizerStep step;
  step.kind = StepKind::kDecodeCtc;
  QUERN_TRY(pad, fields.text_or("pad_token", "<pad>"));
  QUERN_TRY(delimiter, fields.text_or("word_delimiter_token", "|"));
  QUERN_TRY(cleanup, fields.flag_or("cleanup", true));
  step.text = std::move(pad);
  step.content = std::move(delimiter);
  step.flags = cleanup ? step_flag::kCleanup : 0;
  out.push_back(std::move(step));
  return {};
}

constexpr TokenizerComponent kNormalizers[] = {
    {"NFC", plain<StepKind::kNfc>},
    {"NFD", plain<StepKind::kNfd>},
    {"NFKC", plain<StepKind::kNfkc>},
    {"NFKD", plain<StepKind::kNfkd>},
    {"Lowercase", plain<StepKind::kLowercase>},
    {"Strip", strip_space},
    {"StripAccents", plain<StepKind::kStripAccents>},
    {"Replace", replace<StepKind::kReplaceLiteral, StepKind::kReplaceRegex>},
    {"Prepend", prepend},
    {"BertNormalizer", bert_normalizer},
    {"Bert", bert_normalizer},
    {"Precompiled", precompiled},
    {"Nmt", plain<StepKind::kNmt>},
    {"ByteLevel", plain<StepKind::kByteAlphabet>},
};

constexpr TokenizerComponent kPreTokenizers[] = {
    {"ByteLevel", byte_level},
    {"Split", split},
    {"Whitespace", plain<StepKind::kWhitespace>},
    {"WhitespaceSplit", plain<StepKind::kWhitespaceSplit>},
    {"BertPreTokenizer", plain<StepKind::kBertPreTokenizer>},
    {"Punctuation", punctuation},
    {"Metaspace", metaspace<StepKind::kMetaspace>},
    {"Digits", digits},
    {"CharDelimiterSplit", char_delimiter},
    {"UnicodeScripts", plain<StepKind::kUnicodeScripts>},
    {"FixedLength", fixed_length},
};

constexpr TokenizerComponent kDecoders[] = {
    {"ByteLevel", plain<StepKind::kDecodeByteLevel>},
    {"Metaspace", metaspace<StepKind::kDecodeMetaspace>},
    {"WordPiece", decode_wordpiece},
    {"BPEDecoder", decode_bpe},
    {"ByteFallback", plain<StepKind::kDecodeByteFallback>},
    {"Fuse", plain<StepKind::kDecodeFuse>},
    {"Strip", decode_strip},
    {"Replace", replace<StepKind::kDecodeReplaceLiteral, StepKind::kDecodeReplaceRegex>},
    {"CTC", decode_ctc},
};

}  // namespace

Status read_normalizer(const JsonFields& fields, Steps& out) {
  return read_tokenizer_stage(fields, kNormalizers, "normalizers", out);
}

Status read_pre_tokenizer(const JsonFields& fields, Steps& out) {
  return read_tokenizer_stage(fields, kPreTokenizers, "pretokenizers", out);
}

Status read_decoder(const JsonFields& fields, Steps& out) {
  QUERN_CHECK(read_tokenizer_stage(fields, kDecoders, "decoders", out));
  // A sequence of nothing still joins the tokens without spaces, unlike no decoder.
  if (out.empty()) QUERN_CHECK(plain<StepKind::kDecodeFuse>(fields, out));
  return {};
}

}  // namespace quern::formats
