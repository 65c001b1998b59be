#include "text/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "text/token_weights.h"

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

Error not_finite() {
  return Error(ErrorCode::kOutOfRange, "a logit is not a finite number").of("logits");
}

Error no_token() {
  return Error(ErrorCode::kOutOfRange, "no token can follow: every logit is minus infinity")
      .of("logits");
}

/// Index of the first value that equals the largest one.
TokenId first_of(std::span<const float> values, float top) noexcept {
  return static_cast<TokenId>(std::find(values.begin(), values.end(), top) - values.begin());
}

/// How much more than needed the gathered candidates must weigh, of all: sums in another order
/// differ by less.
constexpr double kMargin = 1e-6;
/// Weights of the first candidates that are looked at, and how the next ones go down.
constexpr float kFirstWeight = 0.0625F, kNextWeights = 0.03125F;

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
  weights_.reserve(size);
}

bool Sampler::cuts() const noexcept { return options_.top_p < 1.0F || options_.min_p > 0.0F; }

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
  if (!are_usable(logits) || (adjusts() && !are_usable(values))) return not_finite();
  const float top = largest(values);
  if (top == kMinusInfinity) return no_token();
  if (options_.temperature == 0.0F) return first_of(values, top);
  const auto limit = static_cast<std::size_t>(options_.top_k);
  if (limit == 0 || limit >= values.size()) return draw_of_all(values, top);
  candidates_.clear();
  keep_best(values, limit);
  // The sum must not depend on how a library keeps its heaps.
  std::sort(candidates_.begin(), candidates_.end(), base::ranks_before);
  return draw_of_ranked();
}

std::int64_t Sampler::needed() const noexcept {
  const std::int64_t limit = options_.temperature == 0.0F ? 1 : options_.top_k;
  if (limit == 0 || !options_.logit_bias.empty()) return 0;
  std::int64_t n = limit;
  if (adjusts()) {
    // As many as are lowered may fall out of the best, and none comes in from below.
    const bool lowers = options_.repeat_penalty >= 1.0F && options_.presence_penalty >= 0.0F &&
                        options_.frequency_penalty >= 0.0F;
    if (!lowers || options_.repeat_window < 0) return 0;
    n += options_.repeat_window;
  }
  return n < static_cast<std::int64_t>(adjusted_.size()) ? n : 0;
}

Result<TokenId> Sampler::sample_best(std::span<const base::RankedLogit> best,
                                     std::span<const TokenId> history) {
  if (!are_usable({&best.front().value, 1})) return not_finite();
  candidates_.clear();
  for (const base::RankedLogit& logit : best) candidates_.push_back({logit});
  if (adjusts()) {
    for_each_recent(history, [this](TokenId id, std::int32_t count) {
      const auto found = std::find_if(candidates_.begin(), candidates_.end(),
                                      [id](const Candidate& one) { return one.id == id; });
      if (found != candidates_.end()) found->value = penalised(found->value, count);
    });
    std::sort(candidates_.begin(), candidates_.end(), base::ranks_before);
  }
  const std::size_t limit =
      options_.temperature == 0.0F ? 1 : static_cast<std::size_t>(options_.top_k);
  while (!candidates_.empty() &&
         (candidates_.size() > limit || candidates_.back().value == kMinusInfinity))
    candidates_.pop_back();
  if (candidates_.empty()) return no_token();
  return options_.temperature == 0.0F ? candidates_.front().id : draw_of_ranked();
}

/// Calls visit(id, how often it stands there) for every token that the penalties see.
template <class Visit>
void Sampler::for_each_recent(std::span<const TokenId> history, Visit visit) noexcept {
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
    visit(id, count);
    count = 0;
  }
}

float Sampler::penalised(float value, std::int32_t count) const noexcept {
  value = value > 0.0F ? value / options_.repeat_penalty : value * options_.repeat_penalty;
  value -= options_.presence_penalty;
  return value - options_.frequency_penalty * static_cast<float>(count);
}

void Sampler::adjust(std::span<const TokenId> history) noexcept {
  for (const auto& [id, bias] : options_.logit_bias)
    adjusted_[static_cast<std::size_t>(id)] += bias;
  for_each_recent(history, [this](TokenId id, std::int32_t count) {
    float& value = adjusted_[static_cast<std::size_t>(id)];
    value = penalised(value, count);
  });
}

/// Of all values the `limit` best ones, as a heap whose front is the worst of them.
void Sampler::keep_best(std::span<const float> values, std::size_t limit) noexcept {
  constexpr std::size_t kBlock = 64;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    // No id that is still to come wins a tie.
    if (candidates_.size() == limit && largest(block) <= candidates_.front().value) continue;
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] == kMinusInfinity) continue;
      const Candidate candidate{{block[i], static_cast<TokenId>(begin + i)}};
      if (candidates_.size() < limit) {
        candidates_.push_back(candidate);
      } else if (base::ranks_before(candidate, candidates_.front())) {
        std::pop_heap(candidates_.begin(), candidates_.end(), base::ranks_before);
        candidates_.back() = candidate;
      } else {
        continue;
      }
      std::push_heap(candidates_.begin(), candidates_.end(), base::ranks_before);
    }
  }
}

/// Of the candidates, which are those of top_k, the best one first.
TokenId Sampler::draw_of_ranked() noexcept {
  const float top = candidates_.front().value;
  double total = 0;
  for (Candidate& candidate : candidates_) {
    weigh({&candidate.value, 1}, top, options_.temperature, {&candidate.weight, 1});
    total += static_cast<double>(candidate.weight);
  }
  return draw(total, random_.uniform());
}

/// Sorting a vocabulary for the few tokens that carry the mass would take longer than the model
/// does. So the heaviest are looked at alone, and more only while they do not suffice.
TokenId Sampler::draw_of_all(std::span<const float> values, float top) noexcept {
  weights_.resize(values.size());
  weigh(values, top, options_.temperature, weights_);
  const double total = sum_of(weights_), u = random_.uniform();
  const double need = (cuts() ? static_cast<double>(options_.top_p) : u) + kMargin;
  for (float least = kFirstWeight;; least *= kNextWeights) {
    candidates_.clear();
    double mass = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!(weights_[i] >= least) || values[i] == kMinusInfinity) continue;
      candidates_.push_back({{values[i], static_cast<TokenId>(i)}, weights_[i]});
      mass += static_cast<double>(weights_[i]);
    }
    const bool suffices = mass >= need * total || least < options_.min_p;
    if (suffices || least == 0.0F) return draw(total, u);
  }
}

/// Walks the candidates from the best on until the mass is reached. A heap yields them one by one.
TokenId Sampler::draw(double total, double u) noexcept {
  const auto worse = [](const Candidate& a, const Candidate& b) {
    return base::ranks_before(b, a);
  };
  std::make_heap(candidates_.begin(), candidates_.end(), worse);
  const auto end = candidates_.end();
  auto rest = end;  // [rest, end) holds the ranked ones, the best last.
  double mass = 0.0;
  while (rest != candidates_.begin()) {
    std::pop_heap(candidates_.begin(), rest, worse);
    --rest;
    // The best one always stays; its weight is 1.
    if (rest + 1 != end && rest->weight < options_.min_p) {
      ++rest;
      break;
    }
    mass += static_cast<double>(rest->weight);
    if (!cuts() && mass > u * total) return rest->id;
    if (cuts() && mass >= static_cast<double>(options_.top_p) * total) break;
  }
  const double target = u * mass;
  double reached = 0.0;
  for (auto it = end; it != rest;) {
    --it;
    reached += static_cast<double>(it->weight);
    if (reached > target) return it->id;
  }
  return rest->id;  // Rounding left the target at the very end: the last one that was kept.
}

}  // namespace quern::text
