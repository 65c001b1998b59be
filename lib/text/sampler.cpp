#include "text/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/scalar_math.h"

namespace quern::text {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

Error bad_option(const char* name, const char* expected, double found) {
  return Error(ErrorCode::kOutOfRange, "a sampling option is out of range")
      .of(name)
      .want(expected)
      .got(std::to_string(found));
}

Status check_options(const SamplingOptions& options, std::int64_t vocab_size) {
  // Written so that a NaN fails each of them.
  if (!(options.temperature >= 0.0F && options.temperature <= 1e6F))
    return bad_option("temperature", "0 … 1e6", options.temperature);
  if (options.top_k < 0) return bad_option("top_k", "≥ 0", options.top_k);
  if (!(options.top_p > 0.0F && options.top_p <= 1.0F))
    return bad_option("top_p", "above 0, at most 1", options.top_p);
  if (!(options.min_p >= 0.0F && options.min_p <= 1.0F))
    return bad_option("min_p", "0 … 1", options.min_p);
  if (!(options.repeat_penalty > 0.0F && options.repeat_penalty <= 1e6F))
    return bad_option("repeat_penalty", "above 0, at most 1e6", options.repeat_penalty);
  if (options.repeat_window < -1) return bad_option("repeat_window", "≥ -1", options.repeat_window);
  if (!(std::fabs(options.presence_penalty) <= 1e6F))
    return bad_option("presence_penalty", "a number within ±1e6", options.presence_penalty);
  if (!(std::fabs(options.frequency_penalty) <= 1e6F))
    return bad_option("frequency_penalty", "a number within ±1e6", options.frequency_penalty);
  for (const auto& [id, bias] : options.logit_bias) {
    if (id < 0 || id >= vocab_size)
      return bad_option("logit_bias", "ids of the vocabulary", static_cast<double>(id));
    if (!(bias <= 1e6F && (bias >= -1e6F || bias == kMinusInfinity)))
      return bad_option("logit_bias", "values within ±1e6, or -inf", bias);
  }
  return {};
}

/// \return whether every value is finite or −inf.
bool values_usable(std::span<const float> values) noexcept {
  bool usable = true;
  for (const float value : values) usable &= value <= std::numeric_limits<float>::max();
  return usable;  // A NaN and +inf both fail the comparison.
}

TokenId argmax(std::span<const float> values) noexcept {
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best]) best = i;
  return static_cast<TokenId>(best);
}

}  // namespace

Pcg32::Pcg32(std::uint64_t seed) noexcept {
  next();
  state_ += seed;
  next();
}

std::uint32_t Pcg32::next() noexcept {
  const std::uint64_t old = state_;
  state_ = old * 6364136223846793005U + 1442695040888963407U;
  const auto shifted = static_cast<std::uint32_t>(((old >> 18U) ^ old) >> 27U);
  const auto turn = static_cast<std::uint32_t>(old >> 59U);
  return (shifted >> turn) | (shifted << ((32U - turn) & 31U));
}

double Pcg32::uniform() noexcept {
  const std::uint64_t high = next() >> 5U;
  const std::uint64_t low = next() >> 6U;
  return static_cast<double>((high << 26U) | low) * 0x1p-53;
}

Result<Sampler> Sampler::create(const SamplingOptions& options, std::int64_t vocab_size) {
  if (vocab_size <= 0 || vocab_size > std::numeric_limits<TokenId>::max())
    return Error(ErrorCode::kInvalidArgument, "a sampler needs a vocabulary").of("vocab_size");
  QUERN_CHECK(check_options(options, vocab_size));
  return Sampler(options, vocab_size);
}

Sampler::Sampler(const SamplingOptions& options, std::int64_t vocab_size)
    : options_(options), random_(options.seed) {
  const auto size = static_cast<std::size_t>(vocab_size);
  adjusted_.resize(size);
  counts_.resize(size);
  candidates_.reserve(size);
}

bool Sampler::adjusts() const noexcept {
  return !options_.logit_bias.empty() ||
         (options_.repeat_window != 0 &&
          (options_.repeat_penalty != 1.0F || options_.presence_penalty != 0.0F ||
           options_.frequency_penalty != 0.0F));
}

Result<TokenId> Sampler::sample(std::span<const float> logits, std::span<const TokenId> history) {
  if (logits.size() != adjusted_.size())
    return Error(ErrorCode::kInvalidArgument, "the logits do not cover the vocabulary")
        .of("logits")
        .want(std::to_string(adjusted_.size()))
        .got(std::to_string(logits.size()));
  std::span<const float> values = logits;
  if (adjusts()) {
    std::copy(logits.begin(), logits.end(), adjusted_.begin());
    adjust(history);
    values = adjusted_;
  }
  // After the adjustment, because a penalty can push a huge logit over the edge.
  if (!values_usable(logits) || !values_usable(values))
    return Error(ErrorCode::kOutOfRange, "a logit is not a finite number").of("logits");
  const TokenId best = argmax(values);
  if (values[static_cast<std::size_t>(best)] == kMinusInfinity)
    return Error(ErrorCode::kOutOfRange, "no token can follow: every logit is minus infinity")
        .of("logits");
  if (options_.temperature == 0.0F) return best;
  collect(values);
  return draw();
}

void Sampler::adjust(std::span<const TokenId> history) noexcept {
  for (const auto& [id, bias] : options_.logit_bias)
    adjusted_[static_cast<std::size_t>(id)] += bias;
  std::size_t window = history.size();
  if (options_.repeat_window >= 0)
    window = std::min(window, static_cast<std::size_t>(options_.repeat_window));
  const auto recent = history.last(window);
  const auto known = [this](TokenId id) {
    return id >= 0 && static_cast<std::size_t>(id) < counts_.size();
  };
  for (const TokenId id : recent)
    if (known(id)) ++counts_[static_cast<std::size_t>(id)];
  for (const TokenId id : recent) {
    if (!known(id)) continue;
    std::int32_t& count = counts_[static_cast<std::size_t>(id)];
    if (count == 0) continue;  // Seen and done: each token is penalised once.
    float& value = adjusted_[static_cast<std::size_t>(id)];
    value = value > 0.0F ? value / options_.repeat_penalty : value * options_.repeat_penalty;
    value -= options_.presence_penalty;
    value -= options_.frequency_penalty * static_cast<float>(count);
    count = 0;
  }
}

/// Fills `candidates_` with the top_k best (or all) as a heap or a sorted run whose *last* element
/// is reached first by `draw`.
void Sampler::collect(std::span<const float> values) noexcept {
  candidates_.clear();  // Keeps its capacity of the whole vocabulary.
  const auto limit = static_cast<std::size_t>(options_.top_k);
  const bool limited = limit != 0 && limit < values.size();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] == kMinusInfinity) continue;
    const Candidate candidate{values[i], static_cast<TokenId>(i)};
    if (!limited || candidates_.size() < limit) {
      candidates_.push_back(candidate);
      if (limited) std::push_heap(candidates_.begin(), candidates_.end(), ranks_before);
    } else if (ranks_before(candidate, candidates_.front())) {
      // The front is the worst of the best so far.
      std::pop_heap(candidates_.begin(), candidates_.end(), ranks_before);
      candidates_.back() = candidate;
      std::push_heap(candidates_.begin(), candidates_.end(), ranks_before);
    }
  }
  // Sums below run in this order, so it must not depend on how a library keeps its heaps.
  if (limited)
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return ranks_before(b, a); });
}

TokenId Sampler::draw() noexcept {
  const auto worse = [](const Candidate& a, const Candidate& b) { return ranks_before(b, a); };
  double maximum = kMinusInfinity;
  for (const Candidate& candidate : candidates_)
    maximum = std::max(maximum, static_cast<double>(candidate.value));
  const auto weight = [this, maximum](const Candidate& candidate) {
    return base::exp((static_cast<double>(candidate.value) - maximum) /
                     static_cast<double>(options_.temperature));
  };
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += weight(candidate);

  // Walks the candidates from the best on; a heap yields them one by one, so that a whole
  // vocabulary is never sorted for the few that carry the mass. An ascending run is turned into one
  // here.
  std::make_heap(candidates_.begin(), candidates_.end(), worse);
  const bool cuts = options_.top_p < 1.0F || options_.min_p > 0.0F;
  const double u = random_.uniform();
  const auto end = candidates_.end();
  auto rest = end;  // [rest, end) holds the ranked ones, the best last.
  double mass = 0.0;
  while (rest != candidates_.begin()) {
    std::pop_heap(candidates_.begin(), rest, worse);
    --rest;
    const double share = weight(*rest);
    // The best one always stays; its weight is 1.
    if (rest + 1 != end && share < static_cast<double>(options_.min_p)) {
      ++rest;
      break;
    }
    mass += share;
    if (!cuts && mass > u * total) return rest->id;
    if (cuts && mass >= static_cast<double>(options_.top_p) * total) break;
  }
  const double target = u * mass;
  double reached = 0.0;
  for (auto it = end; it != rest;) {
    --it;
    reached += weight(*it);
    if (reached > target) return it->id;
  }
  return rest->id;  // Rounding left the target at the very end: the last one that was kept.
}

}  // namespace quern::text
