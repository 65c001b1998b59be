// Likelihoods of continuations, against sums over the logits of the whole text.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "quern/evaluation.h"
#include "support.h"

using namespace quern;
using namespace quern::test;

namespace {

/// The sum that a prompt's continuation should have, from all logits of prompt + continuation.
double expected_sum(const Model& model, std::vector<TokenId> prompt,
                    const std::vector<TokenId>& continuation) {
  const std::size_t first = prompt.size();
  prompt.insert(prompt.end(), continuation.begin(), continuation.end());
  const std::vector<float> logits = all_logits(model, prompt, 7);
  const auto vocab = static_cast<std::size_t>(model.vocab_size());
  double sum = 0;
  for (std::size_t at = first; at < prompt.size(); ++at) {
    const auto row = std::span(logits).subspan((at - 1) * vocab, vocab);
    double total = 0;
    for (const float value : row) total += std::exp(static_cast<double>(value));
    sum += static_cast<double>(row[static_cast<std::size_t>(prompt[at])]) - std::log(total);
  }
  return sum;
}

std::vector<Likelihood> found_by(Session& session, const std::vector<TokenId>& prompt,
                                 const std::vector<std::vector<TokenId>>& continuations) {
  auto found = continuation_likelihoods(session, prompt, continuations);
  if (!found.ok()) FAIL(found.error().describe());
  return std::move(*found);
}

}  // namespace

TEST_CASE("the likelihood of ids is the sum over the whole text, also where a window moved on") {
  for (const std::string& path : goldens_of({"decoder"})) {
    CAPTURE(path);
    const Model& model = opened(path);
    const auto ids = golden_ids(path, "input_ids");
    REQUIRE(ids.size() > 21);
    const std::vector<TokenId> prompt(ids.begin(), ids.begin() + 20);
    const std::vector<std::vector<TokenId>> continuations{
        {5}, {7, 9, 11, 2}, {ids[20], ids[21]}, {7, 9, 12}, {5}};
    Session session = new_session(model);
    for (int again = 0; again < 2; ++again) {
      const auto found = found_by(session, prompt, continuations);
      REQUIRE(found.size() == continuations.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CAPTURE(i);
        const double expected = expected_sum(model, prompt, continuations[i]);
        CHECK(found[i].log_likelihood == doctest::Approx(expected).epsilon(1e-9));
        CHECK(found[i].tokens == static_cast<std::int64_t>(continuations[i].size()));
        CHECK(found[i].per_token() * static_cast<double>(found[i].tokens) ==
              doctest::Approx(expected).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("what a model says by itself is greedy, something else is not") {
  const auto path = golden_model("llama3");
  if (!path) return;
  const Model& model = opened(*path);
  const auto prompt = golden_ids(*path, "input_ids"), greedy = golden_ids(*path, "greedy_ids");
  std::vector<TokenId> other = greedy;
  other.back() = other.back() == 3 ? 4 : 3;
  Session session = new_session(model);
  const auto found = found_by(session, prompt, {greedy, other});
  CHECK(found[0].is_greedy);
  CHECK_FALSE(found[1].is_greedy);
}

TEST_CASE("texts are encoded whole, and scored from where the first of them leaves the context") {
  const auto path = handbook_model();
  if (!path) return;
  const Model& model = opened(*path);
  const std::string context = "The package manag";
  const std::vector<std::string> texts{"er installs files", "ement of files", "er"};
  const auto ids = encode_continuations(model, context, texts);
  REQUIRE(ids.ok());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<TokenId> whole = ids->prompt;
    whole.insert(whole.end(), ids->continuations[i].begin(), ids->continuations[i].end());
    CHECK(model.encode(context + texts[i], {.add_special = true, .parse_special = false}).value() ==
          whole);
  }
  Session session = new_session(model);
  const auto found = continuation_likelihoods(session, context, texts);
  REQUIRE(found.ok());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CHECK((*found)[i].log_likelihood ==
          doctest::Approx(expected_sum(model, ids->prompt, ids->continuations[i])).epsilon(1e-9));
    CHECK((*found)[i].bytes == static_cast<std::int64_t>(texts[i].size()));
    CHECK((*found)[i].per_byte() * static_cast<double>(texts[i].size()) ==
          doctest::Approx((*found)[i].log_likelihood));
  }
  // Without a context something stands before the first token all the same.
  const auto alone = encode_continuations(model, "", texts);
  REQUIRE(alone.ok());
  CHECK(alone->prompt.size() == 1);
}

TEST_CASE("what cannot be scored is refused by name, and leaves a session that works") {
  const auto path = handbook_model();
  if (!path) return;
  const Model& model = opened(*path);
  SessionOptions options;
  options.context = 16;
  Session session = new_session(model, options);
  const std::vector<TokenId> prompt{5, 6, 7};
  using Lists = std::vector<std::vector<TokenId>>;
  const auto refused = [&](const std::vector<TokenId>& front, const Lists& behind) {
    return continuation_likelihoods(session, front, behind);
  };
  CHECK(field_of(refused({}, {{1}})) == "prompt");
  CHECK(field_of(refused(prompt, {{1}, {}})) == "continuation");
  CHECK(code_of(refused(prompt, {std::vector<TokenId>(20, 5)})) == ErrorCode::kLimit);
  CHECK_FALSE(refused(prompt, {{1 << 30}}).ok());
  CHECK(field_of(continuation_likelihoods(session, "a", std::vector<std::string>{""})) ==
        "continuation");
  CHECK(refused(prompt, {}).value().empty());
  CHECK(found_by(session, prompt, {{5, 6}}).front().log_likelihood ==
        doctest::Approx(expected_sum(model, prompt, {5, 6})).epsilon(1e-9));
}
