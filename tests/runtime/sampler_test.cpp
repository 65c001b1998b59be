#include "text/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "support.h"
#include "text/token_weights.h"

using namespace quern;
using namespace quern::test;
using quern::text::Pcg32;
using quern::text::Sampler;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingOptions plain() {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

Sampler make(const SamplingOptions& options, std::size_t vocab) {
  auto sampler = Sampler::create(options, static_cast<std::int64_t>(vocab));
  REQUIRE(sampler.ok());
  return std::move(*sampler);
}

/// How often each token comes in `draws` draws.
std::map<TokenId, int> counts(const SamplingOptions& options, const std::vector<float>& logits,
                              int draws, const std::vector<TokenId>& history = {}) {
  Sampler sampler = make(options, logits.size());
  std::map<TokenId, int> result;
  for (int i = 0; i < draws; ++i) {
    const auto id = sampler.sample(logits, history);
    REQUIRE(id.ok());
    ++result[*id];
  }
  return result;
}

TokenId greedy(SamplingOptions options, const std::vector<float>& logits,
               const std::vector<TokenId>& history = {}) {
  options.temperature = 0;
  Sampler sampler = make(options, logits.size());
  return *sampler.sample(logits, history);
}

/// \param window of penalties of every kind; 0: there are none.
SamplingOptions with(float temperature, std::int32_t top_k, std::int32_t window = 0) {
  SamplingOptions options;
  options.temperature = temperature;
  options.top_k = top_k;
  if (window == 0) return options;
  options.repeat_window = window;
  options.repeat_penalty = 1.3F;
  options.presence_penalty = 0.4F;
  options.frequency_penalty = 0.2F;
  return options;
}

std::vector<float> ragged(std::size_t vocab) {
  std::vector<float> logits(vocab);
  Pcg32 random(7);
  for (float& value : logits) value = static_cast<float>(random.uniform() * 12.0 - 6.0);
  return logits;
}

}  // namespace

TEST_CASE("the generator gives the numbers of the published algorithm") {
  // Seed 42 on the default stream.
  Pcg32 random(42);
  for (const std::uint32_t expected :
       {0xc2f57bd6U, 0x6b07c4a9U, 0x72b7b29bU, 0x44215383U, 0xf5af5eadU, 0x68beb632U})
    CHECK(random.next() == expected);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = random.uniform();
    REQUIRE(u >= 0.0);
    REQUIRE(u < 1.0);
    sum += u;
  }
  CHECK(sum / 100000 == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE("the draws follow the distribution of the logits") {
  const std::vector<float> logits{std::log(0.5F), std::log(0.25F), std::log(0.125F),
                                  std::log(0.125F)};
  const int draws = 40000;
  const auto found = counts(plain(), logits, draws);
  double chi_squared = 0;
  const double shares[] = {0.5, 0.25, 0.125, 0.125};
  for (TokenId id = 0; id < 4; ++id) {
    const double expected = shares[id] * draws, difference = found.at(id) - expected;
    chi_squared += difference * difference / expected;
  }
  CHECK(chi_squared < 16.27);  // Three degrees of freedom, 0.1 %.
}

TEST_CASE("temperature 0 takes the largest logit, the lowest id on a tie") {
  CHECK(greedy({}, {1, 3, 2, 3}) == 1);
  CHECK(greedy({}, {-kInfinity, -5, -kInfinity}) == 1);
}

TEST_CASE("top_k keeps the k best, ties by the lowest id") {
  SamplingOptions options = plain();
  options.top_k = 2;
  const auto found = counts(options, {1, 2, 2, 2, 0}, 500);
  CHECK(found.size() == 2);
  CHECK(found.count(1) == 1);
  CHECK(found.count(2) == 1);
  options.top_k = 1;
  CHECK(counts(options, {1, 2, 2, 2, 0}, 50).at(1) == 50);
}

TEST_CASE("top_p keeps the fewest tokens that reach its mass") {
  SamplingOptions options = plain();
  const std::vector<float> logits{std::log(0.1F), std::log(0.5F), std::log(0.1F), std::log(0.3F)};
  options.top_p = 0.75F;
  const auto found = counts(options, logits, 2000);
  CHECK(found.size() == 2);
  CHECK(found.at(1) > found.at(3));
  options.top_p = 0.01F;
  CHECK(counts(options, logits, 50).at(1) == 50);
}

TEST_CASE("min_p keeps tokens of at least its share of the best") {
  SamplingOptions options = plain();
  options.min_p = 0.5F;
  const std::vector<float> logits{std::log(0.4F), std::log(0.25F), std::log(0.19F),
                                  std::log(0.16F)};
  const auto found = counts(options, logits, 2000);
  CHECK(found.size() == 2);
  options.min_p = 1.0F;
  CHECK(counts(options, {1, 5, 5}, 200).size() == 2);  // The tie is as good as the best.
}

TEST_CASE("penalties see the window and no more") {
  SamplingOptions options;
  options.repeat_penalty = 2;
  CHECK(greedy(options, {4, 3, -1}, {0}) == 1);       // 4 / 2 < 3
  CHECK(greedy(options, {-1, -1.5F}, {0}) == 1);      // -1 * 2 < -1.5
  CHECK(greedy(options, {4, 3}, {0, 0, 0, 0}) == 1);  // Once, however often it stands there.
  options.repeat_window = 2;
  CHECK(greedy(options, {4, 3, 0}, {0, 2, 2}) == 0);
  options.repeat_window = 0;
  CHECK(greedy(options, {4, 3, 0}, {0}) == 0);
  options.repeat_window = -1;
  CHECK(greedy(options, {4, 3, 0}, std::vector<TokenId>(500, 0)) == 1);
  SamplingOptions counted;
  counted.frequency_penalty = 1;
  CHECK(greedy(counted, {4, 2.5F}, {0}) == 0);
  CHECK(greedy(counted, {4, 2.5F}, {0, 0}) == 1);
  SamplingOptions present;
  present.presence_penalty = 1;
  CHECK(greedy(present, {4, 2.5F}, {0, 0}) == 0);
  present.presence_penalty = 2;
  CHECK(greedy(present, {4, 2.5F}, {0, 0}) == 1);
}

TEST_CASE("a bias moves a token, minus infinity bans it") {
  SamplingOptions options;
  options.logit_bias = {{0, -kInfinity}, {2, 10}};
  CHECK(greedy(options, {5, 1, 0}) == 2);
  options.logit_bias = {{0, -kInfinity}, {1, -kInfinity}};
  options.temperature = 0;
  Sampler sampler = make(options, 2);
  const auto none = sampler.sample(std::vector<float>{1, 2}, {});
  REQUIRE_FALSE(none.ok());
  CHECK(code_of(none) == ErrorCode::kOutOfRange);
}

TEST_CASE("logits that are no numbers are an error, never a token") {
  for (const float bad : {std::nanf(""), kInfinity}) {
    for (const float temperature : {0.0F, 1.0F}) {
      SamplingOptions options;
      options.temperature = temperature;
      Sampler sampler = make(options, 3);
      CHECK(code_of(sampler.sample(std::vector<float>{1, bad, 2}, {})) == ErrorCode::kOutOfRange);
    }
  }
  Sampler sampler = make({}, 3);
  CHECK(code_of(sampler.sample(std::vector<float>(3, -kInfinity), {})) == ErrorCode::kOutOfRange);
  CHECK(code_of(sampler.sample(std::vector<float>(2, 0.0F), {})) == ErrorCode::kInvalidArgument);
  SamplingOptions edge;  // A penalty that pushes a logit over the edge of float.
  edge.repeat_penalty = 1e-3F;
  Sampler pushed = make(edge, 2);
  const std::vector<TokenId> seen{0};
  CHECK(code_of(pushed.sample(std::vector<float>{3e38F, 0}, seen)) == ErrorCode::kOutOfRange);
}

TEST_CASE("extremes of temperature and logits still give a token") {
  for (const float temperature : {1e-30F, 1e-6F, 1e6F}) {
    SamplingOptions options = plain();
    options.temperature = temperature;
    Sampler sampler = make(options, 4);
    CHECK(sampler.sample(std::vector<float>{3e38F, -3e38F, 0, -kInfinity}, {}).ok());
  }
}

TEST_CASE("options outside their ranges are refused by name") {
  const auto refused = [](const char* name, auto change) {
    SamplingOptions options;
    change(options);
    const auto sampler = Sampler::create(options, 10);
    REQUIRE_FALSE(sampler.ok());
    CHECK(field_of(sampler) == name);
  };
  const float nan = std::nanf("");
  refused("temperature", [](auto& o) { o.temperature = -1; });
  refused("temperature", [=](auto& o) { o.temperature = nan; });
  refused("top_k", [](auto& o) { o.top_k = -1; });
  refused("top_p", [](auto& o) { o.top_p = 0; });
  refused("top_p", [=](auto& o) { o.top_p = nan; });
  refused("min_p", [](auto& o) { o.min_p = 1.5F; });
  refused("repeat_penalty", [](auto& o) { o.repeat_penalty = 0; });
  refused("repeat_window", [](auto& o) { o.repeat_window = -2; });
  refused("presence_penalty", [](auto& o) { o.presence_penalty = kInfinity; });
  refused("frequency_penalty", [=](auto& o) { o.frequency_penalty = nan; });
  refused("logit_bias", [](auto& o) { o.logit_bias = {{10, 0}}; });
  refused("logit_bias", [](auto& o) { o.logit_bias = {{1, kInfinity}}; });
  CHECK_FALSE(Sampler::create({}, 0).ok());
}

TEST_CASE("every way through the sampler gives the recorded ids") {
  // FNV-1a over 200 ids, from an independent program in Python. Every compiler, library and
  // processor must give the same.
  struct Row {
    float temperature, top_p, min_p;
    std::int32_t top_k;
    std::uint64_t seed;
    std::uint32_t digest;
  };
  const auto logits = ragged(1000);
  for (const Row& row : std::initializer_list<Row>{
           {0.8F, 0.95F, 0.05F, 40, 0, 1633229094U},
           {0.8F, 0.95F, 0.05F, 40, 1, 2540317325U},
           {1.0F, 1.0F, 0.0F, 0, 2, 1120008032U},
           {1.5F, 0.9F, 0.0F, 0, 3, 2757258370U},
           {0.7F, 1.0F, 0.1F, 0, 4, 4012659987U},
           {2.0F, 1.0F, 0.0F, 500, 5, 530188116U},
       }) {
    SamplingOptions options;
    options.temperature = row.temperature;
    options.top_p = row.top_p;
    options.min_p = row.min_p;
    options.top_k = row.top_k;
    options.seed = row.seed;
    options.repeat_penalty = 1.1F;
    Sampler sampler = make(options, logits.size());
    std::vector<TokenId> ids;
    std::uint32_t digest = 2166136261U;  // FNV-1a.
    for (int i = 0; i < 200; ++i) {
      ids.push_back(*sampler.sample(logits, ids));
      digest = (digest ^ static_cast<std::uint32_t>(ids.back())) * 16777619U;
    }
    CAPTURE(row.seed);
    CHECK(digest == row.digest);
  }
}

TEST_CASE("the best logits alone give what all of them give, seed by seed") {
  const auto ranked = [](const std::vector<float>& logits, std::int64_t n) {
    std::vector<base::RankedLogit> all;
    for (const float value : logits) all.push_back({value, static_cast<TokenId>(all.size())});
    std::sort(all.begin(), all.end(), base::ranks_before);
    all.resize(static_cast<std::size_t>(n));
    return all;
  };
  std::vector<float> some = ragged(1000), few(50, -kInfinity);
  for (std::size_t i = 3; i < some.size(); i += 5) some[i] = some[i / 2];  // Ties.
  few[7] = 1.0F;
  few[9] = 0.5F;
  for (const auto& logits : {some, few}) {
    for (SamplingOptions options : {with(0.8F, 40), with(0, 40), with(1.5F, 20), with(0.8F, 3),
                                    with(0, 40, 9), with(1.5F, 20, 25)}) {
      options.seed = 11;
      Sampler whole = make(options, logits.size()), part = make(options, logits.size());
      const std::int64_t limit = options.temperature == 0 ? 1 : options.top_k;
      const bool penalises = options.repeat_penalty != 1;
      CHECK(part.needed() == limit + (penalises ? options.repeat_window : 0));
      const auto best = ranked(logits, part.needed());
      std::vector<TokenId> history{-1, 99999};
      for (int i = 0; i < 300; ++i) {
        history.push_back(*whole.sample(logits, history));
        const TokenId id = history.back();
        history.pop_back();
        CHECK(*part.sample_best(best, history) == id);
        history.push_back(id);
      }
      if (penalises && logits.size() == some.size())
        CHECK(std::set(history.begin(), history.end()).size() > 8);
    }
  }
  Sampler sampler = make({}, 50);
  CHECK(code_of(sampler.sample_best(ranked(std::vector<float>(50, -kInfinity), 40), {})) ==
        ErrorCode::kOutOfRange);
  few[30] = kInfinity;
  CHECK(code_of(sampler.sample_best(ranked(few, 40), {})) == ErrorCode::kOutOfRange);
}

TEST_CASE("a sampler that looks at all logits says so") {
  CHECK(make({}, 100).needed() == 40);
  CHECK(make({}, 40).needed() == 0);
  CHECK(make(with(0.8F, 0), 100).needed() == 0);
  CHECK(make(with(0.8F, 20, 64), 100).needed() == 84);
  CHECK(make(with(0.8F, 20, 64), 84).needed() == 0);
  CHECK(make(with(0.8F, 20, -1), 100).needed() == 0);
  SamplingOptions rewarded = with(0, 40, 64);  // What stands there already may rise from below.
  rewarded.repeat_penalty = 0.9F;
  CHECK(make(rewarded, 100).needed() == 0);
  rewarded = with(0, 40, 64);
  rewarded.frequency_penalty = -0.1F;
  CHECK(make(rewarded, 100).needed() == 0);
  SamplingOptions biased = with(0, 40);
  biased.logit_bias = {{1, 1.0F}};
  CHECK(make(biased, 100).needed() == 0);
}

TEST_CASE("passes over a vocabulary give what the C library gives") {
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{15}, std::size_t{16}, std::size_t{1000}}) {
    CAPTURE(size);
    std::vector<float> logits = ragged(size), weights(size);
    for (std::size_t i = 7; i < size; i += 31) logits[i] = -kInfinity;
    const float top = quern::text::largest(logits);
    CHECK(top == *std::max_element(logits.begin(), logits.end()));
    quern::text::weigh(logits, top, 0.3F, weights);
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const double wanted = std::exp((static_cast<double>(logits[i]) - static_cast<double>(top)) /
                                     static_cast<double>(0.3F));
      CHECK(static_cast<double>(weights[i]) == doctest::Approx(wanted).epsilon(1e-5));
      sum += static_cast<double>(weights[i]);
    }
    CHECK(quern::text::sum_of(weights) == doctest::Approx(sum).epsilon(1e-12));
    CHECK(quern::text::are_usable(logits));
    for (const float bad : {std::nanf(""), kInfinity}) {
      std::vector<float> spoilt = logits;
      spoilt[size / 2] = bad;
      CHECK_FALSE(quern::text::are_usable(spoilt));
    }
  }
}

TEST_CASE("a flat distribution is drawn to its end") {
  // All weights are alike, so that no few of them suffice.
  SamplingOptions options = plain();
  const std::vector<float> logits(5000, 1.0F);
  CHECK(counts(options, logits, 3000).rbegin()->first > 4900);
  options.top_p = 0.5F;
  CHECK(counts(options, logits, 3000).rbegin()->first < 2500);
}
