// Perplexity and divergence of rows of logits, against figures worked out by hand.
#include "quern/evaluation.h"

#include <doctest/doctest.h>

#include <cmath>

namespace quern::test {
namespace {

std::vector<float> logits_of(const std::vector<double>& shares) {
  std::vector<float> row;
  for (const double share : shares) row.push_back(static_cast<float>(std::log(share) + 3.0));
  return row;
}

}  // namespace

TEST_CASE("perplexity is the inverse geometric mean of what the targets were given") {
  LogitsScore score;
  REQUIRE(score.add(logits_of({0.5, 0.25, 0.25}), 0).ok());
  REQUIRE(score.add(logits_of({0.125, 0.75, 0.125}), 2).ok());
  const LogitsQuality found = score.result();
  CHECK(found.tokens == 2);
  CHECK(found.perplexity == doctest::Approx(4.0).epsilon(1e-6));  // (0.5 · 0.125)^(−1/2)
  CHECK(found.compared == 0);
}

TEST_CASE("the divergence is that of the reference from what is scored") {
  LogitsScore score;
  const auto p = logits_of({0.5, 0.5}), q = logits_of({0.25, 0.75});
  REQUIRE(score.add(q, 0, p).ok());
  REQUIRE(score.add(p, 0, p).ok());
  const double kl = 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75);
  const LogitsQuality found = score.result();
  CHECK(found.compared == 2);
  CHECK(found.kl_mean == doctest::Approx(kl / 2).epsilon(1e-6));
  CHECK(found.kl_max == doctest::Approx(kl).epsilon(1e-6));
  CHECK(found.kl_p99 == doctest::Approx(0.99 * kl).epsilon(1e-6));
  CHECK(found.top1_agreement == 0.5);  // Of equal shares the first counts as the most likely.
}

TEST_CASE("what cannot be scored is refused") {
  LogitsScore score;
  const auto row = logits_of({0.5, 0.5});
  CHECK(score.add(row, 2).error().code == ErrorCode::kMismatch);
  CHECK(score.add(row, -1).error().code == ErrorCode::kMismatch);
  CHECK(score.add(row, 0, logits_of({1.0})).error().code == ErrorCode::kMismatch);
  CHECK(score.result().tokens == 0);
}

}  // namespace quern::test
