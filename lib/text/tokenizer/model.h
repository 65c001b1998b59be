/// \file
/// The models: a piece of normalized text becomes ids. All run in O(n log n) of the piece.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/tokenizer/image.h"

namespace quern::text {

/// What was done for a text, counted so that tests can bound it without a clock.
struct EncodeWork {
  std::uint64_t lookups = 0;     ///< Vocabulary and merge look-ups.
  std::uint64_t merges = 0;      ///< Entries taken from the merge queue.
  std::uint64_t trie_steps = 0;  ///< Bytes followed in a trie.
  std::uint64_t total() const noexcept { return lookups + merges + trie_steps; }
};

/// A token on its way through merging; a doubly linked list inside a vector.
struct MergeSymbol {
  TokenId id = -1;
  std::uint32_t begin = 0, bytes = 0;  ///< Where it lies in the piece.
  std::int32_t prev = -1, next = -1;
  bool mergeable = true;
};

/// A possible merge. Orders by `order`, then leftmost first.
struct MergeEntry {
  std::uint64_t order = 0;
  std::uint32_t position = 0, bytes = 0;  ///< Of the left symbol; bytes of both together.
  TokenId result = -1;
};

/// Buffers that calls on one thread reuse.
struct ModelScratch {
  std::vector<MergeSymbol> symbols;
  std::vector<MergeEntry> queue;
  std::vector<double> best_score;
  std::vector<std::uint32_t> best_begin;
  std::vector<TokenId> best_id;
  std::string text;
  EncodeWork work;
  /// The flags of which a token needs one to come out of the text.
  std::uint8_t reach = image::kInModel;
};

using EncodePieceFn = Status (*)(const ImageView& image, std::string_view piece,
                                 ModelScratch& scratch, std::vector<TokenId>& out);
/// \return the function of a model; never nullptr for a model that an image may name.
EncodePieceFn find_model(formats::TokenizerModel model) noexcept;

// The rows of its table.
Status encode_bpe_merges(const ImageView&, std::string_view, ModelScratch&, std::vector<TokenId>&);
Status encode_bpe_scores(const ImageView&, std::string_view, ModelScratch&, std::vector<TokenId>&);
Status encode_unigram(const ImageView&, std::string_view, ModelScratch&, std::vector<TokenId>&);
Status encode_wordpiece(const ImageView&, std::string_view, ModelScratch&, std::vector<TokenId>&);
Status encode_wordlevel(const ImageView&, std::string_view, ModelScratch&, std::vector<TokenId>&);

/// The unknown token, or the error that there is none. Errors: kMissing.
Result<TokenId> unknown_of(const ImageView& image);
/// Appends the byte tokens of `bytes`. \return false, appending nothing, where one is missing.
bool append_byte_ids(const ImageView& image, std::string_view bytes, std::vector<TokenId>& out);

}  // namespace quern::text
