/// \file
/// Cutting added tokens out of a text.
/// Source: behaviour of the added vocabulary of `tokenizers` 0.23 (leftmost, longest; a match that
/// is refused still uses up its text).
#pragma once

#include <array>
#include <functional>
#include <string_view>
#include <vector>

#include "text/tokenizer/image.h"
#include "text/tokenizer/model.h"
#include "text/tokenizer/regex.h"

namespace quern::text {

/// A stretch of text: an added token, or text still to be read (id -1).
struct AddedCut {
  ByteRange range;
  TokenId id = -1;
};

/// One of the two sets of added tokens. Views the image. Thread rule: immutable.
class AddedMatcher {
 public:
  AddedMatcher() = default;
  AddedMatcher(const ImageView& image, image::Section edges);

  /// Appends the stretches of `text` in order. `may_be_special(range)` says whether a control token
  /// may be recognised there.
  template <class MayBeSpecial>
  void cut(std::string_view text, MayBeSpecial may_be_special, std::vector<AddedCut>& out,
           EncodeWork& work) const {
    std::size_t done = 0;
    std::size_t at = 0;
    Match match;
    while (!trie_.empty() && find(text, at, match, work)) {
      at = match.range.end;
      const AddedView token = image_->added(match.index);
      const bool special = (token.flags & image::kAddedSpecial) != 0;
      if (token.id < 0 || (special && !may_be_special(match.range))) continue;
      ByteRange range = match.range;
      if (!accept(token, text, done, range)) continue;
      if (range.begin >= range.end) continue;  // The token before has taken it all.
      if (done < range.begin) out.push_back({{done, range.begin}, -1});
      out.push_back({range, token.id});
      done = range.end;
    }
    if (done < text.size()) out.push_back({{done, text.size()}, -1});
  }

 private:
  struct Match {
    ByteRange range;
    std::size_t index = 0;
  };
  /// The first longest match from `at` on.
  bool find(std::string_view text, std::size_t at, Match& match, EncodeWork& work) const;
  /// Applies single_word, lstrip and rstrip.
  static bool accept(const AddedView& token, std::string_view text, std::size_t done,
                     ByteRange& range);

  const ImageView* image_ = nullptr;
  TrieView trie_;
  std::array<bool, 256> begins_{};
};

}  // namespace quern::text
