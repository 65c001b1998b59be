/// \file
/// Tokens that stand beside a vocabulary: added_tokens_decoder, added_tokens.json, the named ones.
#pragma once

#include <string>
#include <string_view>

#include "formats/json.h"
#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::convert {

/// What a directory says about its tokenizer outside the vocabulary.
struct TokenizerNotes {
  std::string file;      ///< The path of tokenizer_config.json, for errors.
  formats::Json config;  ///< tokenizer_config.json; null where absent.
  formats::Json map;     ///< special_tokens_map.json; null where absent.
  formats::Json added;   ///< added_tokens.json; null where absent.
};

/// The named tokens of a class where the notes are silent; nullptr: none.
struct DefaultTokens {
  const char* bos = nullptr;
  const char* eos = nullptr;
  const char* unk = nullptr;
  const char* sep = nullptr;
  const char* pad = nullptr;
  const char* cls = nullptr;
  const char* mask = nullptr;
  bool mask_lstrip = false;
};

/// A token written as text, or as an object with `content`; empty where it is neither.
std::string token_text(const formats::Json& value);
/// \return the id of an added token or a row, -1 where there is none. `guess` is looked at first.
std::int32_t find_token(const formats::TokenizerSpec& spec, std::string_view text,
                        std::int32_t guess = -1);

/// Adds a token unless it is there. A new text gets the next free id; `token.id` is but a guess.
void add_token(formats::TokenizerSpec& spec, formats::AddedToken token);

/// Places the tokens of the notes: those with ids first (added_tokens_decoder, else
/// added_tokens.json), then the named ones, which also become `spec.ids`, then the extra special
/// ones. Of two notes about one token the first counts.
/// Errors: kMismatch (a text has another id in the vocabulary), kMalformed, kLimit.
Status place_added_tokens(formats::TokenizerSpec& spec, const TokenizerNotes& notes,
                          const DefaultTokens& defaults);

}  // namespace quern::convert
