/// \file
/// What ends a reply by its text: the checkpoint's stop strings and the caller's.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/sampling.h"
#include "text/tokenizer/tokenizer.h"

namespace quern::runtime {

/// Control tokens are no part of a text, so that a stop string that is the name of one is looked
/// for among the tokens. Immutable.
class StopStrings {
 public:
  /// \param tokenizer null: there is no text, and nothing stops. \pre no string is empty.
  StopStrings(const text::Tokenizer* tokenizer, std::span<const std::string> own,
              std::span<const std::string> given);

  bool any() const noexcept { return !texts_.empty() || !tokens_.empty(); }
  const std::vector<std::string>& texts() const noexcept { return texts_; }
  bool is_stop(TokenId id) const noexcept;

  /// Whether a stop string is complete in the text of `ids` with `next` behind them.
  bool ends(std::span<const TokenId> ids, TokenId next) const;
  /// \return the text up to the stop string that is complete first.
  std::string before_stop(std::string text) const;

 private:
  const text::Tokenizer* tokenizer_;
  std::vector<std::string> texts_;
  std::vector<TokenId> tokens_;
};

/// kInvalidArgument for an empty one.
Status check_stops(std::span<const std::string> stops);

}  // namespace quern::runtime
