#include "runtime/prompt_lookup.h"

#include <algorithm>

namespace quern::runtime {
namespace {

constexpr std::size_t kNeedle = 3;     ///< Tokens that must have stood together before.
constexpr std::size_t kReach = 16384;  ///< How far back they are sought.

}  // namespace

std::span<const TokenId> PromptLookup::guess(std::span<const TokenId> history,
                                             std::int64_t most) noexcept {
  if (rest_ > 0) {
    --rest_;
    return {};
  }
  const std::int64_t wanted = std::min(limit_, most);
  if (history.size() > kReach) history = history.last(kReach);
  if (wanted <= 0 || history.size() <= kNeedle) return {};
  const auto needle = history.last(kNeedle);
  // The latest place is the likeliest; one before it is better only where that one's text is too
  // short, as in a loop. The needle itself ends the text, so the search ends before it.
  std::span<const TokenId> best;
  const auto enough = static_cast<std::size_t>(wanted);
  for (std::size_t at = history.size() - kNeedle; at-- > 0 && best.size() < enough;) {
    const auto place = history.subspan(at);
    if (!std::equal(needle.begin(), needle.end(), place.begin())) continue;
    const auto after = place.subspan(kNeedle);
    if (after.size() > best.size()) best = after.first(std::min(after.size(), enough));
  }
  return best;
}

void PromptLookup::judge(std::int64_t made, std::int64_t right) noexcept {
  if (made == 0) return;
  if (right == made) {
    limit_ = std::min(2 * limit_ + 1, kMostGuesses);
    next_rest_ = kLeastRest;
  } else if (right == 0) {
    limit_ /= 2;
    if (limit_ > 0) return;
    limit_ = 1;
    rest_ = next_rest_;
    next_rest_ = std::min(2 * next_rest_, kMostRest);
  } else {
    limit_ = right + 1;
  }
}

}  // namespace quern::runtime
