// WordPiece and WordLevel, and what all models share.
// Source: Wu et al. 2016 (longest match first); limits as in `tokenizers` 0.23.
#include <algorithm>

#include "text/tokenizer/model.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

namespace flag = formats::model_flag;
constexpr std::string_view kPhantom = "\xE2\x96\x81";  // U+2581, GGUF's mark of a word's start.

/// \return the longest token at `start`, setting `end`; or -1.
TokenId longest_match(const ImageView& image, std::string_view word, std::size_t start,
                      std::string_view prefix, ModelScratch& scratch, std::size_t& end) {
  const std::size_t room = image.max_token_bytes();
  end = std::min(word.size(), start + room);
  while (end > start && end < word.size() &&
         (static_cast<unsigned char>(word[end]) & 0xC0) == 0x80) {
    --end;
  }
  scratch.text.assign(prefix);
  scratch.text.append(word.substr(start, end - start));
  while (end > start) {
    ++scratch.work.lookups;
    const TokenId id = image.find(
        std::string_view(scratch.text).substr(0, prefix.size() + end - start), scratch.reach);
    if (id >= 0) return id;
    do {
      --end;
    } while (end > start && (static_cast<unsigned char>(word[end]) & 0xC0) == 0x80);
  }
  return -1;
}

}  // namespace

Status encode_wordpiece(const ImageView& image, std::string_view piece, ModelScratch& scratch,
                        std::vector<TokenId>& out) {
  const bool phantom = image.has_flag(flag::kPhantomSpace);
  const std::string_view continuing = image.header_string(image::kContinuingPrefix);
  const std::size_t before = out.size();
  bool is_bad = count_chars(piece) > image.max_word_chars();
  for (std::size_t start = 0; !is_bad && start < piece.size();) {
    const std::string_view prefix = start == 0 ? (phantom ? kPhantom : std::string_view())
                                               : (phantom ? std::string_view() : continuing);
    std::size_t end = start;
    // GGUF has no way to write a continuation that begins with its mark.
    const bool unwritable =
        phantom && start > 0 && piece.substr(start, kPhantom.size()) == kPhantom;
    const TokenId id = unwritable ? -1 : longest_match(image, piece, start, prefix, scratch, end);
    is_bad = id < 0;
    if (!is_bad) out.push_back(id);
    start = end;
  }
  if (!is_bad) return {};
  out.resize(before);
  QUERN_TRY(unknown, unknown_of(image));
  out.push_back(unknown);
  return {};
}

Status encode_wordlevel(const ImageView& image, std::string_view piece, ModelScratch& scratch,
                        std::vector<TokenId>& out) {
  ++scratch.work.lookups;
  if (const TokenId id = image.find(piece, scratch.reach); id >= 0) {
    out.push_back(id);
    return {};
  }
  QUERN_TRY(unknown, unknown_of(image));
  out.push_back(unknown);
  return {};
}

Result<TokenId> unknown_of(const ImageView& image) {
  if (image.model_unk() >= 0) return image.model_unk();
  return Error(ErrorCode::kMissing, "the text holds what the vocabulary cannot say")
      .of("unk_token")
      .want("an unknown token in the vocabulary");
}

bool append_byte_ids(const ImageView& image, std::string_view bytes, std::vector<TokenId>& out) {
  const std::size_t before = out.size();
  for (const char c : bytes) {
    const TokenId id = image.byte_id(static_cast<unsigned char>(c));
    if (id < 0) {
      out.resize(before);
      return false;
    }
    out.push_back(id);
  }
  return true;
}

EncodePieceFn find_model(formats::TokenizerModel model) noexcept {
  using formats::TokenizerModel;
  static constexpr struct {
    TokenizerModel model;
    EncodePieceFn encode;
  } kModels[] = {{TokenizerModel::kBpeMerges, encode_bpe_merges},
                 {TokenizerModel::kBpeScores, encode_bpe_scores},
                 {TokenizerModel::kUnigram, encode_unigram},
                 {TokenizerModel::kWordPiece, encode_wordpiece},
                 {TokenizerModel::kWordLevel, encode_wordlevel}};
  for (const auto& row : kModels) {
    if (row.model == model) return row.encode;
  }
  return encode_wordlevel;
}

}  // namespace quern::text
