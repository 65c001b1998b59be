#include "convert/gguf_pre_table.h"

#include <iterator>

namespace quern::convert {

using formats::SplitBehavior;
using formats::StepKind;
using formats::TokenizerStep;
namespace flag = formats::step_flag;

namespace {

// Steps that are no regular expression.
constexpr const char* kGpt2 = "@gpt2";      // ByteLevel with its pattern.
constexpr const char* kDigits = "@digits";  // Every \p{N} alone.
constexpr const char* kDigitRuns = "@digit-runs";
constexpr const char* kPunctuationRuns = "@punctuation-runs";
constexpr const char* kPunctuation = "@punctuation";

#define QUERN_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define QUERN_TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QUERN_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define QUERN_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define QUERN_LEAD "[^\\r\\n\\p{L}\\p{N}]?"

constexpr const char* kLlama3 = QUERN_CONTRACTIONS
    "|" QUERN_LEAD "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" QUERN_TAIL;
constexpr const char* kQwen2 =
    QUERN_CONTRACTIONS "|" QUERN_LEAD "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" QUERN_TAIL;
constexpr const char* kQwen35 = QUERN_CONTRACTIONS
    "|" QUERN_LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" QUERN_TAIL;
constexpr const char* kGpt4o = QUERN_LEAD QUERN_UPPER
    "*" QUERN_LOWER "+" QUERN_CONTRACTIONS "?|" QUERN_LEAD QUERN_UPPER "+" QUERN_LOWER
    "*" QUERN_CONTRACTIONS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" QUERN_TAIL;
constexpr const char* kTekken =
    QUERN_LEAD QUERN_UPPER "*" QUERN_LOWER "+|" QUERN_LEAD QUERN_UPPER "+" QUERN_LOWER
                           "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" QUERN_TAIL;
constexpr const char* kKimi =
    "[\\p{Han}]+|" QUERN_LEAD
    "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
    "+" QUERN_CONTRACTIONS "?|" QUERN_LEAD
    "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
    "*" QUERN_CONTRACTIONS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" QUERN_TAIL;
constexpr const char* kDeepseek3 =
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]"
    "+| ?[\\p{P}\\p{S}]+[\\r\\n]*" QUERN_TAIL;
constexpr const char* kCjkWide = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";
constexpr const char* kBloom = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";
constexpr const char* kGpt2NoLast =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)";

constexpr GgufPre kRows[] = {
    {"gpt-2 phi-2 roberta-bpe jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code "
     "jina-v2-en modern-bert gigachat exaone4 mellum a.x-4.0 jais trillion granite-docling",
     false,
     false,
     false,
     false,
     {kGpt2}},
    {"mpt olmo", true, false, false, true, {kGpt2}},
    {"starcoder refact smollm codeshell minerva-7b exaone",
     false,
     false,
     false,
     false,
     {kDigits, kGpt2}},
    {"command-r", true, false, false, false, {kDigits, kGpt2}},
    {"falcon",
     false,
     false,
     false,
     false,
     {kPunctuationRuns, kGpt2, kDigitRuns, "[0-9][0-9][0-9]"}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral lfm2 midm-2.0",
     false,
     true,
     true,
     false,
     {kLlama3}},
    {"dbrx smaug-bpe chatglm-bpe", false, false, false, false, {kLlama3}},
    {"glm4 glm5", false, true, false, false, {kLlama3}},
    {"qwen2 deepseek-r1-qwen stablelm2 kormo f2llmv2", true, false, false, false, {kQwen2}},
    {"megrez hunyuan solar-open grok-2", false, false, false, false, {kQwen2}},
    {"qwen35", true, false, false, false, {kQwen35}},
    {"gpt-4o llama4 kanana2", false, false, false, false, {kGpt4o}},
    {"tekken", false, true, true, false, {kTekken}},
    {"deepseek-coder",
     false,
     false,
     false,
     true,
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kCjkWide, kDigits}},
    {"deepseek-llm",
     false,
     false,
     false,
     true,
     {"[\\r\\n]", "\\s?[\\p{Lu}\\p{Ll}\\p{Lt}]+",
      "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$", kCjkWide,
      kDigits}},
    {"deepseek-v3 hunyuan-dense joyai-llm",
     false,
     false,
     false,
     false,
     {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", kDeepseek3}},
    {"bailingmoe bailingmoe2 llada-moe",
     false,
     false,
     false,
     false,
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
      "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {"seed-coder",
     false,
     false,
     false,
     false,
     {QUERN_CONTRACTIONS "|" QUERN_LEAD
                         "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" QUERN_TAIL}},
    {"superbpe", false, false, false, false, {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}},
    {"tiny_aya cohere2moe", false, false, false, false, {"\\d{1,3}(?=(?:\\d{3})*\\b)", kGpt4o}},
    {"bloom poro-chat", false, false, false, false, {kBloom}},
    {"gpt3-finnish viking", false, false, false, false, {kBloom, kDigits}},
    {"kimi-k2", false, true, false, false, {kKimi}},
    {"chameleon",
     false,
     false,
     true,
     false,
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", kDigits,
      kPunctuation, kGpt2}},
    {"default",
     false,
     false,
     false,
     false,
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", kGpt2NoLast, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

TokenizerStep step_of(std::string_view split) {
  TokenizerStep step;
  if (split == kGpt2) {
    step.kind = StepKind::kByteLevel;
    step.flags = flag::kUseRegex;
  } else if (split == kDigits || split == kDigitRuns) {
    step.kind = StepKind::kDigits;
    step.flags = split == kDigits ? flag::kIndividual : 0;
  } else if (split == kPunctuationRuns || split == kPunctuation) {
    step.kind = StepKind::kPunctuation;
    step.number = static_cast<std::uint32_t>(split == kPunctuation ? SplitBehavior::kIsolated
                                                                   : SplitBehavior::kContiguous);
  } else {
    step.kind = StepKind::kSplitRegex;
    step.number = static_cast<std::uint32_t>(SplitBehavior::kIsolated);
    step.text = split;
  }
  return step;
}

/// Whether `name` is one of the words.
bool is_word_of(std::string_view words, std::string_view name) noexcept {
  while (!words.empty()) {
    const std::size_t space = words.find(' ');
    if (words.substr(0, space) == name) return true;
    if (space == std::string_view::npos) return false;
    words.remove_prefix(space + 1);
  }
  return false;
}

}  // namespace

const GgufPre* find_gguf_pre(std::string_view name) noexcept {
  if (name.empty()) name = "default";
  for (const GgufPre& row : kRows) {
    if (is_word_of(row.names, name)) return &row;
  }
  return name.substr(0, 5) == "jina-" ? &kRows[0] : nullptr;
}

const std::vector<const GgufPre*>& gguf_pre_rows() {
  static const std::vector<const GgufPre*> rows = [] {
    std::vector<const GgufPre*> out;
    for (const GgufPre& row : kRows) out.push_back(&row);
    return out;
  }();
  return rows;
}

std::vector<TokenizerStep> pre_tokenizers_of(const GgufPre& row) {
  std::vector<TokenizerStep> out;
  bool mapped = false;
  for (const char* split : row.splits) {
    if (split == nullptr) break;
    out.push_back(step_of(split));
    mapped = mapped || out.back().kind == StepKind::kByteLevel;
  }
  if (!mapped) {
    TokenizerStep bytes;
    bytes.kind = StepKind::kByteLevel;
    out.push_back(std::move(bytes));
  }
  return out;
}

}  // namespace quern::convert
