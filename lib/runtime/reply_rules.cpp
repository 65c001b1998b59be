#include "runtime/reply_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/scalar_math.h"

namespace quern::runtime {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// Whether all but the last token of `run` stand at the end of `all`.
bool begun(std::span<const TokenId> run, std::span<const TokenId> all) {
  return all.size() + 1 >= run.size() && std::equal(run.rbegin() + 1, run.rend(), all.rbegin());
}

/// Changes how far a score lies from the norm.
template <class Of>
void change(TokenId id, double norm, std::span<float> scores, Of of) {
  if (id < 0 || static_cast<std::size_t>(id) >= scores.size()) return;
  float& score = scores[static_cast<std::size_t>(id)];
  if (score != kNever) score = static_cast<float>(norm + of(static_cast<double>(score) - norm));
}

}  // namespace

bool RuleKeeper::adjusts() const noexcept {
  return rules_.decay_factor != 1.0 || rules_.source_penalty != 1.0 || !rules_.run_bias.empty();
}

bool RuleKeeper::any() const noexcept {
  return adjusts() || rules_.last_token >= 0 || !rules_.first_banned.empty() ||
         !rules_.banned_runs.empty() || !rules_.banned.empty() || rules_.min_tokens > 0 ||
         rules_.min_length > 0 || rules_.no_repeat_ngram > 0 || rules_.source_ngram > 0;
}

TokenId RuleKeeper::forced(const ReplyState& state) const noexcept {
  return state.last ? rules_.last_token : -1;
}

/// What came in `text` after the last n − 1 tokens of `all`.
void RuleKeeper::append_repeats(std::span<const TokenId> text, std::span<const TokenId> all,
                                std::int32_t size, std::vector<TokenId>& out) const {
  const auto n = static_cast<std::size_t>(size);
  if (n == 0 || all.size() + 1 < n) return;
  const auto last = all.last(n - 1);
  for (std::size_t at = 0; at + n <= text.size(); ++at) {
    if (std::equal(last.begin(), last.end(), text.begin() + static_cast<std::ptrdiff_t>(at)))
      out.push_back(text[at + n - 1]);
  }
}

void RuleKeeper::append_banned(const ReplyState& state, std::vector<TokenId>& out) const {
  out.insert(out.end(), rules_.banned.begin(), rules_.banned.end());
  if (state.made < rules_.min_tokens ||
      static_cast<std::int64_t>(state.all.size()) < rules_.min_length)
    out.insert(out.end(), ends_.begin(), ends_.end());
  if (state.first) out.insert(out.end(), rules_.first_banned.begin(), rules_.first_banned.end());
  for (const std::vector<TokenId>& run : rules_.banned_runs) {
    if (begun(run, state.all)) out.push_back(run.back());
  }
  append_repeats(state.all, state.all, rules_.no_repeat_ngram, out);
  append_repeats(source_, state.all, rules_.source_ngram, out);
}

void RuleKeeper::favour(const ReplyState& state, double norm, std::span<float> scores) const {
  for (const auto& [run, bias] : rules_.run_bias) {
    const auto by = static_cast<double>(bias);
    if (begun(run, state.all))
      change(run.back(), norm, scores, [by](double own) { return own + by; });
  }
  if (rules_.source_penalty == 1.0) return;
  const double by = rules_.source_penalty;
  std::vector<TokenId> ids(source_.begin(), source_.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const TokenId id : ids)
    change(id, norm, scores, [by](double own) { return own < 0 ? own / by : own * by; });
}

void RuleKeeper::decay(const ReplyState& state, double norm, std::span<float> scores) const {
  const std::int64_t beyond = state.made - rules_.decay_after;
  if (rules_.decay_factor == 1.0 || beyond <= 0) return;
  const double more = base::pow(rules_.decay_factor, static_cast<double>(beyond)) - 1;
  for (const TokenId id : ends_)
    change(id, norm, scores, [more](double own) { return own + std::fabs(own) * more; });
}

std::span<const float> RuleKeeper::apply(const ReplyState& state, std::span<const float> logits) {
  if (!any()) return logits;
  scores_.assign(logits.begin(), logits.end());
  banned_.clear();
  if (const TokenId only = forced(state); only >= 0) {
    std::fill(scores_.begin(), scores_.end(), kNever);
    if (static_cast<std::size_t>(only) < scores_.size())
      scores_[static_cast<std::size_t>(only)] = 0.0F;
    return scores_;
  }
  favour(state, 0.0, scores_);
  decay(state, 0.0, scores_);
  append_banned(state, banned_);
  for (const TokenId id : banned_) {
    if (id >= 0 && static_cast<std::size_t>(id) < scores_.size())
      scores_[static_cast<std::size_t>(id)] = kNever;
  }
  return scores_;
}

}  // namespace quern::runtime
