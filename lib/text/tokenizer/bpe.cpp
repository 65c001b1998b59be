// Byte pair encoding, by merge rank and by score, with a queue of candidate merges.
// Source: Sennrich et al. 2016; the order of merges is that of Hugging Face `tokenizers` (rank) and
// of SentencePiece (score).
#include <algorithm>
#include <bit>

#include "text/tokenizer/model.h"
#include "text/tokenizer/utf8.h"

namespace quern::text {
namespace {

namespace flag = formats::model_flag;

struct Candidate {
  std::uint64_t order = 0;
  TokenId result = -1;
};

/// std heaps keep the greatest in front: the greatest is what merges first.
bool merges_later(const MergeEntry& a, const MergeEntry& b) noexcept {
  return a.order != b.order ? a.order > b.order : a.position > b.position;
}

/// Merges the symbols of `scratch` until nothing merges. `candidate(left, right, out)` says whether
/// two neighbours merge. A queue entry is stale where one of its symbols has merged since; as
/// boundaries only ever vanish, comparing the bytes that both cover finds that out.
template <class FindCandidate>
void merge_all(ModelScratch& scratch, FindCandidate candidate) {
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  queue.clear();
  const auto offer = [&](std::size_t left) {
    const MergeSymbol& a = symbols[left];
    if (a.next < 0) return false;
    const MergeSymbol& b = symbols[static_cast<std::size_t>(a.next)];
    Candidate found;
    ++scratch.work.lookups;
    if (!a.mergeable || !b.mergeable || !candidate(a, b, found)) return false;
    queue.push_back(
        {found.order, static_cast<std::uint32_t>(left), a.bytes + b.bytes, found.result});
    return true;
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) offer(i);
  std::make_heap(queue.begin(), queue.end(), merges_later);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), merges_later);
    const MergeEntry top = queue.back();
    queue.pop_back();
    ++scratch.work.merges;
    MergeSymbol& left = symbols[top.position];
    if (left.bytes == 0 || left.next < 0) continue;
    MergeSymbol& right = symbols[static_cast<std::size_t>(left.next)];
    if (left.bytes + right.bytes != top.bytes) continue;
    left.id = top.result;
    left.bytes = top.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) {
      symbols[static_cast<std::size_t>(left.next)].prev = static_cast<std::int32_t>(top.position);
    }
    if (left.prev >= 0 && offer(static_cast<std::size_t>(left.prev))) {
      std::push_heap(queue.begin(), queue.end(), merges_later);
    }
    if (offer(top.position)) std::push_heap(queue.begin(), queue.end(), merges_later);
  }
}

void push_symbol(ModelScratch& scratch, TokenId id, std::size_t begin, std::size_t bytes,
                 bool mergeable) {
  auto& symbols = scratch.symbols;
  MergeSymbol symbol;
  symbol.id = id;
  symbol.begin = static_cast<std::uint32_t>(begin);
  symbol.bytes = static_cast<std::uint32_t>(bytes);
  symbol.prev = static_cast<std::int32_t>(symbols.size()) - 1;
  symbol.mergeable = mergeable;
  if (!symbols.empty()) symbols.back().next = static_cast<std::int32_t>(symbols.size());
  symbols.push_back(symbol);
}

/// The characters of a piece as symbols, with the unknown ones as byte tokens or unknown tokens.
class SymbolMaker {
 public:
  SymbolMaker(const ImageView& image, std::string_view piece, ModelScratch& scratch)
      : image_(image), piece_(piece), scratch_(scratch) {}

  Status run() {
    const std::string_view prefix = image_.header_string(image::kContinuingPrefix);
    const std::string_view suffix = image_.header_string(image::kWordSuffix);
    scratch_.symbols.clear();
    for (std::size_t at = 0; at < piece_.size();) {
      const std::size_t bytes = decode_char(piece_, at).bytes;
      const bool is_first = at == 0, is_last = at + bytes == piece_.size();
      std::string_view text = piece_.substr(at, bytes);
      if ((!is_first && !prefix.empty()) || (is_last && !suffix.empty())) {
        scratch_.text.assign(is_first ? std::string_view() : prefix);
        scratch_.text.append(text);
        if (is_last) scratch_.text.append(suffix);
        text = scratch_.text;
      }
      QUERN_CHECK(character(text, at, bytes));
      at += bytes;
    }
    flush_unknown();
    return {};
  }

 private:
  Status character(std::string_view text, std::size_t at, std::size_t bytes) {
    ++scratch_.work.lookups;
    if (const TokenId id = image_.find(text, scratch_.reach); id >= 0) {
      flush_unknown();
      push_symbol(scratch_, id, at, bytes, true);
      return {};
    }
    if (image_.has_flag(flag::kByteFallback) && as_bytes(text, at)) return {};
    if (image_.model_unk() == -1) return {};  // Dropped, as there is nothing to say it with.
    QUERN_TRY(unknown, unknown_of(image_));
    if (unknown_bytes_ > 0 && !image_.has_flag(flag::kFuseUnknown)) flush_unknown();
    if (unknown_bytes_ == 0) unknown_begin_ = at;
    unknown_bytes_ += bytes;
    unknown_ = unknown;
    return {};
  }

  bool as_bytes(std::string_view text, std::size_t at) {
    scratch_.best_id.clear();
    if (!append_byte_ids(image_, text, scratch_.best_id)) return false;
    for (const TokenId id : scratch_.best_id) {
      push_symbol(scratch_, id, at, 1, image_.model() == formats::TokenizerModel::kBpeMerges);
    }
    return true;
  }

  void flush_unknown() {
    if (unknown_bytes_ > 0) push_symbol(scratch_, unknown_, unknown_begin_, unknown_bytes_, true);
    unknown_bytes_ = 0;
  }

  const ImageView& image_;
  std::string_view piece_;
  ModelScratch& scratch_;
  TokenId unknown_ = -1;
  std::size_t unknown_begin_ = 0, unknown_bytes_ = 0;
};

Status check_length(std::string_view piece) {
  if (piece.size() < 0x7fffffffu) return {};
  return Error(ErrorCode::kLimit, "a piece of text is too long")
      .want("less than 2 GiB")
      .got(std::to_string(piece.size()));
}

/// With `ignore_merges`, a piece that the vocabulary knows is that token.
bool is_whole_token(const ImageView& image, std::string_view piece, ModelScratch& scratch,
                    std::vector<TokenId>& out) {
  if (!image.has_flag(flag::kIgnoreMerges)) return false;
  ++scratch.work.lookups;
  const TokenId id = image.find(piece, scratch.reach);
  if (id >= 0) out.push_back(id);
  return id >= 0;
}

void take_ids(const ModelScratch& scratch, std::vector<TokenId>& out) {
  for (const MergeSymbol& symbol : scratch.symbols) {
    if (symbol.bytes != 0) out.push_back(symbol.id);
  }
}

/// Numbers that order as the scores do, the best first.
std::uint64_t order_of_score(double score) noexcept {
  const auto bits = std::bit_cast<std::uint64_t>(score);
  const std::uint64_t ascending = (bits >> 63) != 0 ? ~bits : bits | (std::uint64_t{1} << 63);
  return ~ascending;
}

}  // namespace

Status encode_bpe_merges(const ImageView& image, std::string_view piece, ModelScratch& scratch,
                         std::vector<TokenId>& out) {
  QUERN_CHECK(check_length(piece));
  if (is_whole_token(image, piece, scratch, out)) return {};
  QUERN_CHECK(SymbolMaker(image, piece, scratch).run());
  merge_all(scratch, [&](const MergeSymbol& a, const MergeSymbol& b, Candidate& found) {
    const std::uint32_t rank = image.find_merge(a.id, b.id);
    if (rank == image::kNoId) return false;
    found.order = rank;
    found.result = static_cast<TokenId>(image.merge(rank).result);
    return (image.token_flags(found.result) & scratch.reach) != 0;
  });
  take_ids(scratch, out);
  return {};
}

Status encode_bpe_scores(const ImageView& image, std::string_view piece, ModelScratch& scratch,
                         std::vector<TokenId>& out) {
  QUERN_CHECK(check_length(piece));
  if (is_whole_token(image, piece, scratch, out)) return {};
  QUERN_CHECK(SymbolMaker(image, piece, scratch).run());
  const auto normal = static_cast<std::uint8_t>(formats::TokenType::kNormal);
  merge_all(scratch, [&](const MergeSymbol& a, const MergeSymbol& b, Candidate& found) {
    // Dropped characters leave a gap that nothing merges across.
    if (a.begin + a.bytes != b.begin) return false;
    found.result = image.find(piece.substr(a.begin, a.bytes + b.bytes), image::kInModel);
    if (found.result < 0 || (image.token_flags(found.result) & image::kTypeMask) != normal) {
      return false;
    }
    found.order = order_of_score(image.score(found.result));
    return true;
  });
  take_ids(scratch, out);
  return {};
}

}  // namespace quern::text
