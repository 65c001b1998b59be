#include "quern/fill_in.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/guard.h"
#include "runtime/leading_ids.h"
#include "runtime/model_state.h"

namespace quern {
namespace {

/// The names of one family's tokens as its vocabulary writes them.
struct FillInNames {
  std::string_view prefix, suffix, middle;  ///< An empty middle: the prefix comes last.
  bool suffix_first = false;
};

constexpr FillInNames kFamilies[] = {
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},  // StarCoder 1 and 2, Granite, StableCode
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen 2.5 Coder, CodeGemma, Granite 4
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},        // SantaCoder
    {"▁<PRE>", "▁<SUF>", "▁<MID>"},                          // CodeLlama
    {"<PRE>", "<SUF>", "<MID>"},
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},        // DeepSeek
    {"<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", true},  // Seed-Coder
    {"[PREFIX]", "[SUFFIX]", "", true},                            // Codestral
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},     // GLM 4
    {">>PREFIX<<", ">>SUFFIX<<", ">>MIDDLE<<"}};                   // Falcon

/// What the published models end a middle with, beside the tokens of the prompt.
constexpr std::string_view kEnds[] = {
    "<fim_pad>",   "<|fim_pad|>",   "<fim-pad>",     "▁<EOT>",
    "<EOT>",       "<file_sep>",    "<|file_sep|>",  "<|file_separator|>",
    "<repo_name>", "<|repo_name|>", "<|endoftext|>", "<[fim-pad]>"};

/// The tokens themselves; −1: the family has none.
struct FillInTokens {
  TokenId prefix = -1, suffix = -1, middle = -1;
  bool suffix_first = false;
};

std::optional<FillInTokens> find_names(const text::Tokenizer& tokenizer) {
  for (const FillInNames& names : kFamilies) {
    const auto prefix = tokenizer.find(names.prefix), suffix = tokenizer.find(names.suffix);
    if (!prefix || !suffix) continue;
    FillInTokens tokens{*prefix, *suffix, -1, names.suffix_first};
    if (names.middle.empty()) return tokens;
    const auto middle = tokenizer.find(names.middle);
    if (!middle) continue;
    tokens.middle = *middle;
    return tokens;
  }
  return std::nullopt;
}

Error no_tokens(const Model::State& state) {
  return Error(ErrorCode::kUnsupported,
               "the model was not made for fill-in-the-middle: its vocabulary has no such tokens")
      .in_file(state.file.path())
      .of("prefix, suffix")
      .want("a code model (StarCoder, Qwen Coder, CodeLlama, DeepSeek Coder, Codestral, Granite)");
}

Result<FillInTokens> find_tokens(const Model::State& state) {
  const text::Tokenizer& tokenizer = *state.tokenizer;
  const auto named = find_names(tokenizer);
  const runtime::FillInIds& ids = state.generation.fill_in;
  if (ids.prefix < 0 || ids.suffix < 0) {
    if (!named) return no_tokens(state);
    return *named;
  }
  for (const TokenId id : {ids.prefix, ids.suffix, ids.middle}) {
    if (id < static_cast<TokenId>(tokenizer.vocab_size())) continue;
    return Error(ErrorCode::kOutOfRange, "an id for fill-in-the-middle is no token")
        .in_file(state.file.path())
        .of("generation")
        .want("below " + std::to_string(tokenizer.vocab_size()))
        .got(std::to_string(id));
  }
  // Where a file says the ids, only the names say the order.
  const bool known = named && named->prefix == ids.prefix && named->suffix == ids.suffix;
  if (known) return FillInTokens{ids.prefix, ids.suffix, named->middle, named->suffix_first};
  return FillInTokens{ids.prefix, ids.suffix, ids.middle, ids.middle < 0};
}

/// A text that goes on where another one ended: without the space that a SentencePiece vocabulary
/// puts in front of a text.
Result<std::vector<TokenId>> encode_inside(const text::Tokenizer& tokenizer,
                                           std::string_view text) {
  text::EncodeOptions plain;
  plain.add_special = plain.parse_special = false;
  constexpr std::string_view kAnchor = "☺", kSpace = "▁";
  QUERN_TRY(anchor, tokenizer.encode(kAnchor, plain));
  if (anchor.empty() || !tokenizer.token_bytes(anchor.front()).starts_with(kSpace))
    return tokenizer.encode(text, plain);
  QUERN_TRY(whole, tokenizer.encode(std::string(kAnchor) + std::string(text), plain));
  if (whole.size() < anchor.size() || !std::equal(anchor.begin(), anchor.end(), whole.begin()))
    return tokenizer.encode(text, plain);
  whole.erase(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(anchor.size()));
  return whole;
}

void append(std::vector<TokenId>& to, const std::vector<TokenId>& ids) {
  to.insert(to.end(), ids.begin(), ids.end());
}

/// Where a text names one of the tokens, behind the first character of the name; npos: nowhere.
std::size_t cut_of(const text::Tokenizer& tokenizer, const FillInTokens& tokens,
                   std::string_view text) {
  std::size_t first = std::string_view::npos, cut = first;
  for (const TokenId id : {tokens.prefix, tokens.suffix, tokens.middle}) {
    const std::string_view name = id < 0 ? std::string_view() : tokenizer.token_bytes(id);
    const std::size_t at = name.empty() ? first : text.find(name);
    if (at >= first) continue;
    first = at;
    cut = at + 1;
    while (cut < text.size() && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) ++cut;
  }
  return cut;
}

/// Text without control tokens. Some vocabularies recognise those of fill-in-the-middle in any
/// text; a name that is cut in two is none. \param inside as encode_inside
Result<std::vector<TokenId>> encode_text(const text::Tokenizer& tokenizer,
                                         const FillInTokens& tokens, std::string_view text,
                                         bool inside) {
  text::EncodeOptions plain;
  plain.add_special = plain.parse_special = false;
  std::vector<TokenId> ids;
  for (bool more = true; more;) {
    const std::size_t cut = cut_of(tokenizer, tokens, text);
    more = cut < text.size();
    const std::string_view part = text.substr(0, cut);
    QUERN_TRY(found, inside ? encode_inside(tokenizer, part) : tokenizer.encode(part, plain));
    append(ids, found);
    inside = true;
    text.remove_prefix(part.size());
  }
  return ids;
}

std::vector<TokenId> ends_of(const text::Tokenizer& tokenizer, const FillInTokens& tokens) {
  std::vector<TokenId> ends;
  for (const TokenId id : {tokens.prefix, tokens.suffix, tokens.middle})
    if (id >= 0) ends.push_back(id);
  for (const std::string_view name : kEnds)
    if (const auto id = tokenizer.find(name)) ends.push_back(*id);
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return ends;
}

}  // namespace

Result<FillInPrompt> fill_in_prompt(const Model& model, std::string_view prefix,
                                    std::string_view suffix) {
  return base::guarded([&]() -> Result<FillInPrompt> {
    const Model::State& state = model.state();
    if (!state.tokenizer)
      return Error(ErrorCode::kMissing, "the model has no tokenizer").in_file(state.file.path());
    const text::Tokenizer& tokenizer = *state.tokenizer;
    QUERN_TRY(tokens, find_tokens(state));
    QUERN_TRY(before, encode_text(tokenizer, tokens, prefix, false));
    QUERN_TRY(behind, encode_text(tokenizer, tokens, suffix, true));
    QUERN_TRY(leading, runtime::leading_ids(model));
    FillInPrompt prompt;
    prompt.ids = std::move(leading);
    if (tokens.suffix_first) {
      prompt.ids.push_back(tokens.suffix);
      append(prompt.ids, behind);
    }
    prompt.ids.push_back(tokens.prefix);
    append(prompt.ids, before);
    if (!tokens.suffix_first) {
      prompt.ids.push_back(tokens.suffix);
      append(prompt.ids, behind);
    }
    if (tokens.middle >= 0) prompt.ids.push_back(tokens.middle);
    prompt.end_tokens = ends_of(tokenizer, tokens);
    return prompt;
  });
}

}  // namespace quern
