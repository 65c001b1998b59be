#include "runtime/window_feed.h"

#include <string>

#include "quern/evaluation.h"
#include "runtime/source_reader.h"

namespace quern::runtime {

Result<WindowFeed> feed_window(Session& session, std::span<const TokenId> window) {
  if (window.size() < 2)
    return Error(ErrorCode::kInvalidArgument, "a window predicts nothing")
        .of("window")
        .want("at least 2 tokens")
        .got(std::to_string(window.size()));
  const std::size_t first = first_scored(window.size());
  // What is evaluated next begins one token before the first scored one; the last token is only
  // predicted.
  const auto before = window.first(first - 1);
  WindowFeed feed{{window.begin() + static_cast<std::ptrdiff_t>(first - 1), window.end() - 1},
                  first};
  QUERN_CHECK(session.rewind(0));
  if (!session.model().is_encoder_decoder()) {
    if (!before.empty()) QUERN_CHECK(session.step(before));
    return feed;
  }
  QUERN_CHECK(session.read_source(window.first(first)));
  QUERN_TRY(start, require_decoder_start(session.model()));
  if (start.size() > 1) QUERN_CHECK(session.step(start.first(start.size() - 1)));
  feed.ids.front() = start.back();
  return feed;
}

}  // namespace quern::runtime
