#include "runtime/beam_search.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/scalar_math.h"
#include "runtime/log_sum_exp.h"

namespace quern::runtime {
namespace {

constexpr std::int32_t kMostBeams = 256;

Status check_range(const char* option, double low, double high, double found) {
  if (found >= low && found <= high) return {};
  return Error(ErrorCode::kOutOfRange, "an option of the beam search is out of range")
      .of(option)
      .want(std::to_string(low) + " … " + std::to_string(high))
      .got(std::to_string(found));
}

}  // namespace

Status check_beam_options(const BeamOptions& options, std::int64_t vocab_size) {
  QUERN_CHECK(check_range("beams", 1, kMostBeams, options.beams));
  QUERN_CHECK(check_range("results", 1, options.beams, options.results));
  QUERN_CHECK(check_range("max_tokens", -1, 1e9, static_cast<double>(options.max_tokens)));
  QUERN_CHECK(check_range("min_tokens", 0, 1e9, static_cast<double>(options.min_tokens)));
  QUERN_CHECK(
      check_range("length_penalty", -100, 100, static_cast<double>(options.length_penalty)));
  QUERN_CHECK(check_range("no_repeat_ngram", 0, 1e6, options.no_repeat_ngram));
  for (const TokenId id : options.banned)
    QUERN_CHECK(check_range("banned", 0, static_cast<double>(vocab_size - 1), id));
  return {};
}

namespace {

/// The rules, and what a caller asks for on top of them.
ReplyRules with_options(ReplyRules rules, const BeamOptions& options) {
  rules.banned.insert(rules.banned.end(), options.banned.begin(), options.banned.end());
  rules.min_tokens = options.min_tokens;
  rules.no_repeat_ngram = options.no_repeat_ngram;
  return rules;
}

}  // namespace

BeamSearch::BeamSearch(const BeamOptions& options, std::span<const TokenId> prompt,
                       std::span<const TokenId> end_tokens, std::int64_t max_tokens,
                       std::int64_t counted, const ReplyRules& rules,
                       std::span<const TokenId> source, const StopStrings* stops)
    : options_(options),
      prompt_(prompt),
      end_tokens_(end_tokens),
      max_tokens_(max_tokens),
      counted_(counted),
      rules_(with_options(rules, options)),
      keeper_(rules_, source, end_tokens_),
      stops_(stops),
      running_(1) {}

bool BeamSearch::is_end(TokenId id) const noexcept {
  return std::find(end_tokens_.begin(), end_tokens_.end(), id) != end_tokens_.end();
}

bool BeamSearch::stops(const Candidate& candidate) const {
  return stops_ != nullptr && stops_->any() &&
         stops_->ends(running_[candidate.beam].ids, candidate.id);
}

ReplyState BeamSearch::state_of(const Beam& beam) {
  all_.assign(prompt_.begin(), prompt_.end());
  all_.insert(all_.end(), beam.ids.begin(), beam.ids.end());
  return {all_, length_ + counted_, length_ == 0, length_ + 1 == max_tokens_};
}

std::vector<float> BeamSearch::adjusted(const Beam& beam, std::span<const float> logits,
                                        double norm) {
  std::vector<float> result(logits.begin(), logits.end());
  const ReplyState state = state_of(beam);
  keeper_.favour(state, norm, result);
  if (rules_.repeat_penalty != 1.0) {
    const std::vector<float> before = result;  // A token that came twice is lowered once.
    for (const TokenId id : state.all) {
      const auto at = static_cast<std::size_t>(id);
      const double own = static_cast<double>(before[at]) - norm;
      result[at] = static_cast<float>(
          norm + (own < 0 ? own * rules_.repeat_penalty : own / rules_.repeat_penalty));
    }
  }
  keeper_.decay(state, norm, result);
  return result;
}

void BeamSearch::list_allowed(const Beam& beam, std::size_t vocab_size) {
  banned_.clear();
  keeper_.append_banned(state_of(beam), banned_);
  is_banned_.resize(vocab_size);
  const auto mark = [&](bool value) {
    for (const TokenId id : banned_)
      if (id >= 0 && static_cast<std::size_t>(id) < vocab_size)
        is_banned_[static_cast<std::size_t>(id)] = value;
  };
  mark(true);
  order_.clear();
  for (std::size_t i = 0; i < vocab_size; ++i)
    if (!is_banned_[i]) order_.push_back(static_cast<TokenId>(i));
  mark(false);
}

void BeamSearch::add_candidates(std::size_t beam, std::span<const float> logits,
                                std::vector<Candidate>& candidates) {
  if (rules_.last_token >= 0 && length_ + 1 == max_tokens_) {
    candidates.push_back({running_[beam].log_probability, beam, rules_.last_token});
    return;
  }
  double norm = log_sum_exp(logits, base::exp);
  std::vector<float> changed;
  if (rules_.repeat_penalty != 1.0 || keeper_.adjusts()) {
    changed = adjusted(running_[beam], logits, norm);
    logits = changed;
  }
  // So many that `beams` of them do not end here.
  const std::size_t keep =
      std::max<std::size_t>(2, 1 + end_tokens_.size()) * static_cast<std::size_t>(options_.beams);
  list_allowed(running_[beam], logits.size());
  const auto better = [&](TokenId a, TokenId b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  if (rules_.renormalise) {
    std::vector<float> allowed;
    for (const TokenId id : order_) allowed.push_back(logits[static_cast<std::size_t>(id)]);
    norm = log_sum_exp(allowed, base::exp);
  }
  const std::size_t n = std::min(keep, order_.size());
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(n), order_.end(),
                    better);
  for (std::size_t i = 0; i < n; ++i) {
    const auto own = static_cast<double>(logits[static_cast<std::size_t>(order_[i])]);
    candidates.push_back({running_[beam].log_probability + (own - norm), beam, order_[i]});
  }
}

double BeamSearch::normalised(double log_probability, std::int64_t length) const {
  return log_probability / base::pow(static_cast<double>(length + counted_),
                                     static_cast<double>(options_.length_penalty));
}

void BeamSearch::finish(const Candidate& candidate, bool stopped) {
  Hypothesis done{running_[candidate.beam].ids,
                  {},
                  normalised(candidate.log_probability, length_),
                  is_end(candidate.id)};
  if (!done.finished) done.ids.push_back(candidate.id);
  done.finished = done.finished || stopped;
  const auto worse = [&](const Hypothesis& other) { return other.score < done.score; };
  finished_.insert(std::find_if(finished_.begin(), finished_.end(), worse), std::move(done));
  if (finished_.size() > static_cast<std::size_t>(options_.beams)) finished_.pop_back();
}

bool BeamSearch::advance(std::span<const float> logits) {
  const auto beams = static_cast<std::size_t>(options_.beams);
  const std::size_t vocab_size = logits.size() / running_.size();
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < running_.size(); ++i)
    add_candidates(i, logits.subspan(i * vocab_size, vocab_size), candidates);
  std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return a.log_probability > b.log_probability;
  });
  if (candidates.empty()) return false;  // Every token is banned: the hypotheses stay as they are.
  ++length_;
  const bool last = length_ >= max_tokens_;
  const bool full = finished_.size() >= beams;
  std::vector<Beam> next;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& candidate = candidates[i];
    if (i >= beams && next.size() >= beams) break;
    const bool stopped = !is_end(candidate.id) && stops(candidate);
    const bool ends = last || stopped || is_end(candidate.id);
    // Only one of the first `beams` may end; the others are there to be continued.
    if (ends && i < beams && !(full && options_.early_stopping) && improvable_)
      finish(candidate, stopped);
    if (ends || next.size() >= beams) continue;
    next.push_back({running_[candidate.beam].ids, candidate.log_probability, candidate.beam});
    next.back().ids.push_back(candidate.id);
  }
  running_ = std::move(next);
  if (running_.empty()) return false;
  if (finished_.size() < beams) return true;
  if (options_.early_stopping) return false;
  const bool grows = rules_.never_early && options_.length_penalty > 0;
  improvable_ = normalised(running_.front().log_probability, grows ? max_tokens_ : length_) >
                finished_.back().score;
  return improvable_;
}

std::vector<Hypothesis> BeamSearch::results() const {
  std::vector<Hypothesis> best = finished_;
  for (const Beam& beam : running_) {
    if (best.size() >= static_cast<std::size_t>(options_.results)) break;
    best.push_back({beam.ids,
                    {},
                    normalised(beam.log_probability, std::max<std::int64_t>(1, length_)),
                    false});
  }
  if (best.size() > static_cast<std::size_t>(options_.results))
    best.resize(static_cast<std::size_t>(options_.results));
  return best;
}

}  // namespace quern::runtime
