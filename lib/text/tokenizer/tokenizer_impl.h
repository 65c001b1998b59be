/// \file
/// What a Tokenizer is made of. Private to this folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/decoder.h"
#include "text/tokenizer/tokenizer.h"

namespace quern::text {

struct Tokenizer::Impl {
  ImageView image;
  std::vector<Step> normalizers, pre_tokenizers, decoders;
  AddedMatcher raw_added, normal_added;
  EncodePieceFn encode_piece = nullptr;

  /// What a token is as text for the decoders; an empty optional for what is no token.
  /// `buffer` may hold the text.
  std::optional<std::string_view> shown(TokenId id, std::string& buffer) const;
  /// Whether decoding leaves the token out with special tokens: the library asks for its text,
  /// and that of a normalized token need not be the written one.
  bool is_skipped(TokenId id, std::string_view shown_text) const noexcept;
};

}  // namespace quern::text
