/// \file
/// tokenizer.json (Hugging Face `tokenizers`, version "1.0") as a TokenizerSpec.
#pragma once

#include <string_view>

#include "formats/json.h"
#include "formats/tokenizer_spec.h"
#include "quern/result.h"

namespace quern::formats {

/// Largest text of one token, in bytes.
inline constexpr std::size_t kMaxTokenBytes = 64u << 10;
/// Largest id + 1.
inline constexpr std::size_t kMaxVocabRows = 8u << 20;

/// Reads the whole pipeline: normalizer, pre_tokenizer, model, post_processor, decoder,
/// added_tokens. `truncation` and `padding` are no part of it. Ids of added tokens are what the
/// library gives them: the vocabulary's where it knows the text, else the next free one.
/// Errors: kMalformed, kUnsupported (a component unknown here, named), kMissing, kOutOfRange,
/// kLimit.
Result<TokenizerSpec> read_tokenizer_json(const Json& root, std::string_view file);
/// The same from text.
Result<TokenizerSpec> read_tokenizer_json_text(std::string_view text, std::string_view file);

/// A score as the `tokenizers` library reads its shortest decimal form: digits as one integer,
/// divided by a power of ten. That can be one unit off the nearest double, and ties between
/// segmentations hang on it.
double library_score(double score);

/// \return the byte of a token written `<0xNN>`, or -1.
int byte_of_token(std::string_view token);

}  // namespace quern::formats
