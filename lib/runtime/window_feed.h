/// \file
/// How a window of text is shown to a model so that its second half is predicted.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "quern/session.h"

namespace quern::runtime {

/// Tokens to evaluate next; the logits of `ids[i]` predict the window's token `first + i`.
struct WindowFeed {
  std::vector<TokenId> ids;
  std::size_t first = 0;
};

/// Brings the session to where the window's first scored token is predicted: a decoder has read
/// what comes before, an encoder–decoder has it as its source. Errors: kInvalidArgument for a
/// window of less than 2 tokens, those of Session.
Result<WindowFeed> feed_window(Session& session, std::span<const TokenId> window);

}  // namespace quern::runtime
