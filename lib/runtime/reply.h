/// \file
/// Where the text of a reply goes: detokenizer, stop strings, the caller's callback.
#pragma once

#include <optional>
#include <string_view>

#include "quern/session.h"
#include "runtime/stop_matcher.h"
#include "text/tokenizer/tokenizer.h"

namespace quern::runtime {

/// One reply under way. Holds references to the options and to the result that it fills.
/// Thread rule: one thread.
class Reply {
 public:
  /// \param tokenizer null: the ids are kept, and there is no text.
  Reply(const text::Tokenizer* tokenizer, const GenerateOptions& options, Generated& out);

  /// Takes one token. \return whether the reply goes on.
  bool add(TokenId id);
  /// Shows what was held back, unless a stop string or the callback ended the reply.
  void finish();
  /// \return whether the callback asked to stop.
  bool refused() const noexcept { return refused_; }

 private:
  bool show(std::string_view text);

  const GenerateOptions& options_;
  Generated& out_;
  StopMatcher matcher_;
  std::optional<text::StreamDecoder> decoder_;
  bool refused_ = false;
};

}  // namespace quern::runtime
