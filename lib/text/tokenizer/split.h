/// \file
/// Cutting pieces at matches, in the five ways of the `tokenizers` library.
#pragma once

#include <string_view>
#include <vector>

#include "formats/tokenizer_spec.h"
#include "text/tokenizer/step.h"

namespace quern::text {

/// A stretch of a piece and whether it is a match.
struct Stretch {
  ByteRange range;
  bool is_match = false;
};

/// Turns ordered, disjoint matches into stretches that cover `length` bytes; `invert` swaps roles.
void cover(const std::vector<ByteRange>& matches, std::size_t length, bool invert,
           std::vector<Stretch>& out);

/// Appends what `behavior` keeps of the stretches, moved by `shift`; empty ranges are left out.
void cut(const std::vector<Stretch>& stretches, formats::SplitBehavior behavior, std::size_t shift,
         std::vector<ByteRange>& out);

/// Splits every piece: `find(piece, matches)` appends the matches and may fail.
template <class Find>
Status split_pieces(PieceText& text, formats::SplitBehavior behavior, bool invert, Find find) {
  std::vector<ByteRange> pieces, matches;
  std::vector<Stretch> stretches;
  pieces.reserve(text.pieces.size());
  for (const ByteRange& piece : text.pieces) {
    matches.clear();
    stretches.clear();
    Status status = find(text.piece(piece), matches);
    if (!status.ok()) return status;
    cover(matches, piece.end - piece.begin, invert, stretches);
    cut(stretches, behavior, piece.begin, pieces);
  }
  text.pieces = std::move(pieces);
  return {};
}

}  // namespace quern::text
