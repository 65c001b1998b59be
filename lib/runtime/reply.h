/// \file
/// Where the text of a reply goes: detokenizer, stop strings, the caller's callback.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "quern/session.h"
#include "runtime/stop_matcher.h"
#include "runtime/stop_strings.h"
#include "text/tokenizer/tokenizer.h"

namespace quern::runtime {

/// One reply under way. Holds references to the options and to the result that it fills.
/// Thread rule: one thread.
class Reply {
 public:
  /// \param tokenizer null: the ids are kept, and there is no text. \param own_stops the
  /// checkpoint's stop strings, which count besides the options'.
  Reply(const text::Tokenizer* tokenizer, const GenerateOptions& options,
        std::span<const std::string> own_stops, Generated& out);

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
  StopStrings stops_;
  StopMatcher matcher_;
  std::optional<text::StreamDecoder> decoder_;
  bool refused_ = false;
};

}  // namespace quern::runtime
