// What a checkpoint's generation configuration adds to a beam search, on a vocabulary of four.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "runtime/beam_search.h"
#include "runtime/generation_defaults.h"

using namespace quern;
using quern::runtime::BeamSearch;
using quern::runtime::ReplyRules;

namespace {

constexpr TokenId kEnd = 3;

double log_share(const std::vector<float>& logits, std::size_t id) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  return static_cast<double>(logits[id]) - std::log(sum);
}

/// The best hypothesis of a search with one beam that sees the same logits at every step.
Hypothesis search(const ReplyRules& rules, std::vector<float> logits, std::int64_t max_tokens,
                  std::int64_t counted = 0, std::int64_t min_tokens = 0) {
  BeamOptions options;
  options.beams = 1;
  options.min_tokens = min_tokens;
  const std::vector<TokenId> prompt = {0}, ends = {kEnd};
  BeamSearch beams(options, prompt, ends, max_tokens, counted, rules);
  for (std::int64_t i = 0; i < max_tokens && beams.advance(logits); ++i) {
  }
  return beams.results().front();
}

}  // namespace

TEST_CASE("a hypothesis ends with the last token that the checkpoint forces, which costs nothing") {
  ReplyRules rules;
  rules.last_token = kEnd;
  const std::vector<float> logits = {0.0F, 2.0F, 1.0F, -5.0F};
  const Hypothesis best = search(rules, logits, 3);
  CHECK(best.ids == std::vector<TokenId>{1, 1});
  CHECK(best.finished);
  CHECK(best.score == doctest::Approx(2 * log_share(logits, 1) / 3));
  CHECK(search({}, logits, 3).ids == std::vector<TokenId>{1, 1, 1});
}

TEST_CASE("what has come is less likely under a penalty") {
  ReplyRules rules;
  rules.repeat_penalty = 2.0;
  const std::vector<float> logits = {0.0F, 2.0F, 1.5F, -5.0F};
  const Hypothesis best = search(rules, logits, 2);
  CHECK(best.ids == std::vector<TokenId>{1, 2});
  CHECK(best.score == doctest::Approx((log_share(logits, 1) + log_share(logits, 2)) / 2));
}

TEST_CASE("banned runs and banned beginnings do not come") {
  ReplyRules rules;
  rules.banned_runs = {{1, 1}, {0, 9, 2}};
  const std::vector<float> logits = {0.0F, 2.0F, 1.5F, -5.0F};
  CHECK(search(rules, logits, 4).ids == std::vector<TokenId>{1, 2, 1, 2});
  rules = {};
  rules.first_banned = {1, -1};
  CHECK(search(rules, logits, 2).ids == std::vector<TokenId>{2, 1});
  rules.renormalise = true;
  const std::vector<float> others = {0.0F, 1.5F, -5.0F};
  CHECK(search(rules, logits, 1).score == doctest::Approx(log_share(others, 1)));
}

TEST_CASE("a search that is never early follows what may still win as it grows") {
  const std::vector<float> first = {0.0F, 2.4F, -3.0F, 2.5F};  // The end is likeliest.
  const std::vector<float> second = {0.0F, 0.0F, 0.0F, 20.0F};
  BeamOptions options;
  options.beams = 1;
  const std::vector<TokenId> prompt = {0}, ends = {kEnd};
  for (const bool never : {false, true}) {
    CAPTURE(never);
    ReplyRules rules;
    rules.never_early = never;
    BeamSearch beams(options, prompt, ends, 6, 0, rules);
    CHECK(beams.advance(first) == never);
    if (never) beams.advance(second);
    CHECK(beams.results().front().ids == std::vector<TokenId>(never ? 1 : 0, 1));
  }
}

TEST_CASE("a forced first token counts towards the shortest length") {
  const std::vector<float> logits = {0.0F, 2.0F, -3.0F, 2.5F};
  CHECK(search({}, logits, 6, 0, 2).ids.size() == 2);
  CHECK(search({}, logits, 6, 1, 2).ids.size() == 1);
}

TEST_CASE("where every token is banned the search ends with what it has") {
  ReplyRules rules;
  rules.no_repeat_ngram = 1;  // No token comes twice, and the prompt has one of the three others.
  rules.banned = {kEnd};
  const std::vector<float> logits = {0.0F, 2.0F, 1.0F, -5.0F};
  BeamOptions options;
  options.beams = 2;
  options.banned = rules.banned;
  options.no_repeat_ngram = rules.no_repeat_ngram;
  const std::vector<TokenId> prompt = {0}, ends = {kEnd};
  BeamSearch beams(options, prompt, ends, 9, 0, rules);
  int steps = 0;
  for (std::vector<float> rows = logits; steps < 9 && beams.advance(rows); ++steps) {
    rows.clear();
    for (std::size_t i = 0; i < beams.running().size(); ++i)
      rows.insert(rows.end(), logits.begin(), logits.end());
  }
  CHECK(steps == 2);
  REQUIRE(!beams.results().empty());
  CHECK(beams.results().front().ids == std::vector<TokenId>{1, 2});
  CHECK(!beams.results().front().finished);
}

TEST_CASE("the rules are read from a generation configuration") {
  const auto defaults = runtime::read_generation_defaults(
      R"({"forced_eos_token_id": 3, "early_stopping": "never", "repetition_penalty": 1.5,
          "renormalize_logits": true, "begin_suppress_tokens": [1, 2],
          "bad_words_ids": [[5], [1, 2]]})",
      "x");
  REQUIRE(defaults.ok());
  const ReplyRules& rules = defaults->rules;
  CHECK(rules.last_token == 3);
  CHECK(rules.never_early);
  CHECK(rules.repeat_penalty == 1.5);
  CHECK(rules.renormalise);
  CHECK(rules.first_banned == std::vector<TokenId>{1, 2});
  CHECK(rules.banned_runs == std::vector<std::vector<TokenId>>{{1, 2}});
  CHECK(defaults->beams.banned == std::vector<TokenId>{5});
}
