// Unigram: the segmentation of the best sum of scores.
// Source: Kudo 2018; ties, the unknown score and the fusing of unknowns as in `tokenizers` 0.23.
#include <limits>

#include "text/tokenizer/model.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

constexpr std::uint32_t kUnreached = std::numeric_limits<std::uint32_t>::max();

class Lattice {
 public:
  Lattice(const ImageView& image, std::string_view piece, ModelScratch& scratch)
      : image_(image), trie_(image.trie(image::kPieceTrieEdges)), piece_(piece), scratch_(scratch) {
    scratch_.best_score.assign(piece.size() + 1, 0.0);
    scratch_.best_begin.assign(piece.size() + 1, kUnreached);
    scratch_.best_id.assign(piece.size() + 1, -1);
  }

  Status forward() {
    for (std::size_t begin = 0; begin < piece_.size();) {
      const std::size_t bytes = decode_char(piece_, begin).bytes;
      if (!pieces_from(begin, bytes) && is_better(begin + bytes, begin, image_.unk_score())) {
        QUERN_TRY(unknown, unknown_of(image_));
        reach(begin + bytes, begin, unknown, image_.unk_score());
      }
      begin += bytes;
    }
    return {};
  }

  /// Ids from the end to the front; runs of unknowns are one stretch.
  Status backward(std::vector<TokenId>& out) {
    const TokenId unknown = image_.model_unk();
    reversed_.clear();
    for (std::size_t end = piece_.size(); end > 0;) {
      std::size_t begin = scratch_.best_begin[end];
      const TokenId id = scratch_.best_id[end];
      if (begin >= end) return Error(ErrorCode::kInternal, "a piece has no segmentation");
      if (id == unknown) {
        while (begin > 0 && scratch_.best_id[begin] == unknown) begin = scratch_.best_begin[begin];
      }
      reversed_.push_back({begin, end, id});
      end = begin;
    }
    for (auto it = reversed_.rbegin(); it != reversed_.rend(); ++it) {
      if (it->id != unknown) {
        out.push_back(numbered(it->id));
      } else {
        unknown_stretch(piece_.substr(it->begin, it->end - it->begin), unknown, out);
      }
    }
    return {};
  }

 private:
  struct Found {
    std::size_t begin, end;
    TokenId id;
  };

  bool is_better(std::size_t end, std::size_t begin, double score) const {
    return scratch_.best_begin[end] == kUnreached ||
           scratch_.best_score[begin] + score > scratch_.best_score[end];
  }

  void reach(std::size_t end, std::size_t begin, TokenId id, double score) {
    if (!is_better(end, begin, score)) return;
    scratch_.best_score[end] = scratch_.best_score[begin] + score;
    scratch_.best_begin[end] = static_cast<std::uint32_t>(begin);
    scratch_.best_id[end] = id;
  }

  /// \return whether some piece is exactly the character at `begin`.
  bool pieces_from(std::size_t begin, std::size_t char_bytes) {
    bool has_character = false;
    std::uint32_t node = 0;
    for (std::size_t at = begin; at < piece_.size(); ++at) {
      ++scratch_.work.trie_steps;
      if (at - begin >= image::kMaxTokenBytes) break;
      node = trie_.child(node, static_cast<unsigned char>(piece_[at]));
      if (node == 0) break;
      const TokenId id = trie_.value(node);
      if (id < 0 || static_cast<std::uint32_t>(id) >= image_.n_tokens()) continue;
      if ((image_.token_flags(id) & scratch_.reach) == 0) continue;
      // A hostile trie could end a piece within a character; nothing begins there.
      const std::size_t end = at + 1;
      if (end < piece_.size() && (static_cast<unsigned char>(piece_[end]) & 0xC0) == 0x80) continue;
      reach(end, begin, id, image_.score(id));
      if (end - begin == char_bytes) has_character = true;
    }
    return has_character;
  }

  /// A piece that takes part in the segmentation without a number of its own is unknown.
  TokenId numbered(TokenId id) const {
    const auto unused = static_cast<std::uint8_t>(formats::TokenType::kUnused);
    return (image_.token_flags(id) & image::kTypeMask) == unused ? image_.model_unk() : id;
  }

  void unknown_stretch(std::string_view text, TokenId unknown, std::vector<TokenId>& out) {
    ++scratch_.work.lookups;
    if (const TokenId id = image_.find(text, scratch_.reach); id >= 0) {
      out.push_back(numbered(id));
    } else if (!image_.has_flag(formats::model_flag::kByteFallback) ||
               !append_byte_ids(image_, text, out)) {
      out.push_back(unknown);
    }
  }

  const ImageView& image_;
  TrieView trie_;
  std::string_view piece_;
  ModelScratch& scratch_;
  std::vector<Found> reversed_;
};

}  // namespace

Status encode_unigram(const ImageView& image, std::string_view piece, ModelScratch& scratch,
                      std::vector<TokenId>& out) {
  if (piece.size() >= kUnreached) {
    return Error(ErrorCode::kLimit, "a piece of text is too long").want("less than 4 GiB");
  }
  Lattice lattice(image, piece, scratch);
  QUERN_CHECK(lattice.forward());
  return lattice.backward(out);
}

}  // namespace quern::text
