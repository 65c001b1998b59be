#include "runtime/stop_strings.h"

#include <algorithm>
#include <optional>

#include "runtime/stop_matcher.h"

namespace quern::runtime {

StopStrings::StopStrings(const text::Tokenizer* tokenizer, std::span<const std::string> own,
                         std::span<const std::string> given)
    : tokenizer_(tokenizer) {
  if (tokenizer == nullptr) return;
  for (const std::span<const std::string> stops : {own, given}) {
    for (const std::string& stop : stops) {
      const std::optional<TokenId> token = tokenizer->find(stop);
      if (token && tokenizer->is_special(*token))
        tokens_.push_back(*token);
      else
        texts_.push_back(stop);
    }
  }
}

bool StopStrings::is_stop(TokenId id) const noexcept {
  return std::find(tokens_.begin(), tokens_.end(), id) != tokens_.end();
}

bool StopStrings::ends(std::span<const TokenId> ids, TokenId next) const {
  if (is_stop(next)) return true;
  if (texts_.empty()) return false;
  std::vector<TokenId> all(ids.begin(), ids.end());
  all.push_back(next);
  const std::string text = tokenizer_->decode(all);
  return std::any_of(texts_.begin(), texts_.end(),
                     [&](const std::string& stop) { return text.find(stop) != std::string::npos; });
}

std::string StopStrings::before_stop(std::string text) const {
  StopMatcher matcher(texts_);
  std::string shown(matcher.push(text));
  if (!matcher.stopped()) shown += matcher.finish();
  return shown;
}

Status check_stops(std::span<const std::string> stops) {
  for (const std::string& stop : stops) {
    if (stop.empty())
      return Error(ErrorCode::kInvalidArgument, "a stop string is empty").of("stop");
  }
  return {};
}

}  // namespace quern::runtime
