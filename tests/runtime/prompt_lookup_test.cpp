#include "runtime/prompt_lookup.h"

#include <doctest/doctest.h>

#include <vector>

using quern::TokenId;
using quern::runtime::PromptLookup;

namespace {

std::vector<TokenId> guess(PromptLookup& lookup, const std::vector<TokenId>& history,
                           std::int64_t most = 7) {
  const auto found = lookup.guess(history, most);
  return {found.begin(), found.end()};
}

}  // namespace

TEST_CASE("what followed the last three tokens before is the guess, from the latest place") {
  PromptLookup lookup;
  CHECK(guess(lookup, {1, 2, 3, 4, 5, 6, 1, 2, 3}) == std::vector<TokenId>{4, 5, 6});
  CHECK(guess(lookup, {1, 2, 3, 4, 1, 2, 3, 9, 8, 1, 2, 3}, 2) == std::vector<TokenId>{9, 8});
  CHECK(guess(lookup, {7, 7, 7, 7}) == std::vector<TokenId>{7});
}

TEST_CASE("no guess where nothing repeats or nothing fits") {
  PromptLookup lookup;
  CHECK(guess(lookup, {}).empty());
  CHECK(guess(lookup, {1, 2, 3}).empty());
  CHECK(guess(lookup, {1, 2, 3, 4, 5, 6}).empty());
  CHECK(guess(lookup, {1, 2, 3, 4, 1, 2, 3}, 0).empty());
}

TEST_CASE("guesses grow where they prove right and rest where they never do") {
  const std::vector<TokenId> loop(200, 5);
  PromptLookup right;
  for (int i = 0; i < 4; ++i) {
    const auto made = static_cast<std::int64_t>(guess(right, loop).size());
    right.judge(made, made);
  }
  CHECK(guess(right, loop).size() == 7);

  PromptLookup wrong;
  std::int64_t made = 0;
  const int tokens = 2000;
  for (int i = 0; i < tokens; ++i) {
    const auto now = static_cast<std::int64_t>(guess(wrong, loop).size());
    wrong.judge(now, 0);
    made += now;
  }
  CHECK(made > 0);
  CHECK(made < tokens / 50);  // So free text loses less than two in a hundred.
}
