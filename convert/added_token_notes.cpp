#include "convert/added_token_notes.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "formats/byte_reader.h"
#include "formats/tokenizer_json.h"

namespace quern::convert {
namespace {

using formats::AddedToken;
using formats::Json;
using formats::SpecialIds;
using formats::TokenizerSpec;
using formats::TokenRow;
using formats::TokenType;

/// In the order in which new ones get ids.
constexpr struct {
  const char* key;
  std::int32_t SpecialIds::*slot;
  const char* DefaultTokens::*fallback;
} kNamed[] = {
    {"bos_token", &SpecialIds::bos, &DefaultTokens::bos},
    {"eos_token", &SpecialIds::eos, &DefaultTokens::eos},
    {"unk_token", &SpecialIds::unk, &DefaultTokens::unk},
    {"sep_token", &SpecialIds::sep, &DefaultTokens::sep},
    {"pad_token", &SpecialIds::pad, &DefaultTokens::pad},
    {"cls_token", &SpecialIds::cls, &DefaultTokens::cls},
    {"mask_token", &SpecialIds::mask, &DefaultTokens::mask},
};

AddedToken special_token(std::string content) {
  AddedToken token;
  token.content = std::move(content);
  token.special = true;
  return token;
}

AddedToken token_of(const Json& value, bool special) {
  AddedToken token = special_token(token_text(value));
  const Json* written = value.find("special");
  token.special = special || (written != nullptr && written->boolean());
  token.single_word = value["single_word"].boolean();
  token.lstrip = value["lstrip"].boolean();
  token.rstrip = value["rstrip"].boolean();
  const Json* normalized = value.find("normalized");
  token.normalized = normalized == nullptr ? !token.special : normalized->boolean();
  return token;
}

/// A special token is taken from the model, so that no plain text can become it.
void set_row(TokenRow& row, const AddedToken& token) {
  if (row.type != TokenType::kUnknown) {
    row.type = token.special ? TokenType::kControl : TokenType::kUserDefined;
  }
  if (token.special) row.in_model = false;
}

bool is_added(const TokenizerSpec& spec, std::string_view content) {
  return std::any_of(spec.added.begin(), spec.added.end(),
                     [content](const AddedToken& token) { return token.content == content; });
}

class Placer {
 public:
  Placer(TokenizerSpec& spec, const TokenizerNotes& notes) : spec_(spec), notes_(notes) {}

  Status run(const DefaultTokens& defaults) {
    QUERN_CHECK(numbered());
    for (const auto& row : kNamed)
      named(row.key, defaults.*row.fallback, spec_.ids.*row.slot,
            row.slot == &SpecialIds::mask && defaults.mask_lstrip);
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      for (const Json& value : notes_.config[key]) add_token(spec_, token_of(value, true));
      for (const Json& value : note_of_map(key)) add_token(spec_, token_of(value, true));
    }
    std::sort(spec_.added.begin(), spec_.added.end(),
              [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    return {};
  }

 private:
  bool has_decoder() const { return notes_.config.contains("added_tokens_decoder"); }
  /// special_tokens_map.json counts only where the configuration lists no tokens itself.
  const Json& note_of_map(const char* key) const {
    static const Json none;
    return has_decoder() ? none : notes_.map[key];
  }
  const Json* find_note(const char* key) const {
    const Json* of_map = has_decoder() ? nullptr : notes_.map.find(key);
    return of_map != nullptr ? of_map : notes_.config.find(key);
  }

  void named(const char* key, const char* fallback, std::int32_t& slot, bool lstrip) {
    const Json* note = find_note(key);
    AddedToken token;
    if (note != nullptr) {
      token = token_of(*note, true);
      if (note->is_object() && !note->contains("normalized")) token.normalized = false;
    } else if (fallback != nullptr) {
      token = special_token(fallback);
    }
    if (note == nullptr || !note->is_object()) token.lstrip = lstrip;
    if (token.content.empty()) return;
    const std::string content = token.content;
    add_token(spec_, std::move(token));
    slot = find_token(spec_, content);
  }

  bool is_named(const std::string& text) const {
    return std::any_of(std::begin(kNamed), std::end(kNamed), [&](const auto& row) {
      const Json* note = find_note(row.key);
      return note != nullptr && token_text(*note) == text;
    });
  }

  Status numbered() {
    std::vector<AddedToken> tokens;
    if (has_decoder()) {
      for (const auto& item : notes_.config["added_tokens_decoder"].items()) {
        AddedToken token = token_of(item.value, is_named(token_text(item.value)));
        const char* end = item.key.data() + item.key.size();
        const auto parsed = std::from_chars(item.key.data(), end, token.id);
        if (parsed.ec != std::errc() || parsed.ptr != end) token.id = -1;
        tokens.push_back(std::move(token));
      }
    } else {
      for (const auto& item : notes_.added.items()) {
        AddedToken token = special_token(item.key);
        token.special = is_named(item.key);
        token.normalized = !token.special;
        token.id = item.value.is_unsigned() && item.value.unsigned_integer() < 0x7fffffffu
                       ? static_cast<std::int32_t>(item.value.integer())
                       : -1;
        tokens.push_back(std::move(token));
      }
    }
    std::sort(tokens.begin(), tokens.end(),
              [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    for (AddedToken& token : tokens) QUERN_CHECK(place(std::move(token)));
    return {};
  }

  Error error(ErrorCode code, const char* message, const AddedToken& token) const {
    return Error(code, message)
        .in_file(notes_.file)
        .of(has_decoder() ? "added_tokens_decoder" : "added_tokens.json")
        .got(formats::quote(token.content) + " = " + std::to_string(token.id));
  }

  Status place(AddedToken token) {
    if (token.content.empty() || token.id < 0) {
      return error(ErrorCode::kMalformed, "an added token has no text or no id", token);
    }
    const auto id = static_cast<std::size_t>(token.id);
    if (id >= formats::kMaxVocabRows || token.content.size() > formats::kMaxTokenBytes) {
      return error(ErrorCode::kLimit, "an added token or its id is too large", token);
    }
    const std::int32_t known = find_token(spec_, token.content, token.id);
    if (known >= 0 && known != token.id) {
      return error(ErrorCode::kMismatch, "an added token has another id in the vocabulary", token)
          .want(std::to_string(known));
    }
    if (spec_.tokens.size() <= id) spec_.tokens.resize(id + 1);
    TokenRow& row = spec_.tokens[id];
    row.text = token.content;  // A reserved row may get a name.
    set_row(row, token);
    if (!is_added(spec_, token.content)) spec_.added.push_back(std::move(token));
    return {};
  }

  TokenizerSpec& spec_;
  const TokenizerNotes& notes_;
};

}  // namespace

std::string token_text(const Json& value) {
  return value.is_object() ? value["content"].string() : value.string();
}

std::int32_t find_token(const TokenizerSpec& spec, std::string_view text, std::int32_t guess) {
  if (text.empty()) return -1;
  const auto at = static_cast<std::size_t>(guess);
  if (guess >= 0 && at < spec.tokens.size() && spec.tokens[at].text == text) return guess;
  for (const AddedToken& added : spec.added) {
    if (added.content == text) return added.id;
  }
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.tokens[i].text == text) return static_cast<std::int32_t>(i);
  }
  return -1;
}

void add_token(TokenizerSpec& spec, AddedToken token) {
  if (token.content.empty() || is_added(spec, token.content)) return;
  token.id = find_token(spec, token.content, token.id);
  if (token.id < 0) {
    token.id = static_cast<std::int32_t>(spec.tokens.size());
    spec.tokens.push_back(TokenRow{token.content, TokenType::kNormal, false});
  }
  set_row(spec.tokens[static_cast<std::size_t>(token.id)], token);
  spec.added.push_back(std::move(token));
}

Status place_added_tokens(TokenizerSpec& spec, const TokenizerNotes& notes,
                          const DefaultTokens& defaults) {
  return Placer(spec, notes).run(defaults);
}

}  // namespace quern::convert
