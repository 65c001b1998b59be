/// \file
/// Beam search: the likeliest continuations as a whole, in the place of drawing token by token.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "quern/sampling.h"

namespace quern {

/// Scores, ends and ties follow transformers' `generate(num_beams=…)`.
struct BeamOptions {
  std::int32_t beams = 4;        ///< Hypotheses followed at a time, at least 1.
  std::int32_t results = 1;      ///< Hypotheses returned, at most `beams`.
  std::int64_t max_tokens = -1;  ///< −1: until the context is full.
  std::int64_t min_tokens = 0;   ///< No hypothesis ends before it has so many.
  /// A finished hypothesis counts as its log-probability over length^penalty: more favours long
  /// ones.
  float length_penalty = 1.0F;
  bool early_stopping = false;       ///< Ends as soon as `beams` hypotheses are finished.
  std::int32_t no_repeat_ngram = 0;  ///< No sequence of so many tokens comes twice; 0: off.
  std::vector<TokenId> banned = {};  ///< Tokens that never come.
  /// Text that ends a hypothesis, besides the model's own stop strings; not part of its text.
  std::vector<std::string> stop = {};
  const std::atomic<bool>* cancel = nullptr;  ///< Polled before every step.
};

struct Hypothesis {
  std::vector<TokenId> ids;  ///< Without the end token.
  std::string text;
  double score = 0;       ///< Log-probability, the end token's included, over length^penalty.
  bool finished = false;  ///< An end token or a stop string came, not the end of the tokens.
};

}  // namespace quern
