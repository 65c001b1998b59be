/// \file
/// How the next token is chosen.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace quern {

using TokenId = std::int32_t;

/// Applied in this order: logit bias, repetition penalty, temperature, top-k, top-p, min-p, draw.
/// The same options and seed give the same text on every machine (own exponential, own generator: PCG-32).
struct SamplingOptions {
  float temperature = 0.8F;         ///< 0: greedy (the largest logit, lowest id on a tie).
  std::int32_t top_k = 40;          ///< 0: off.
  float top_p = 0.95F;              ///< 1: off.
  float min_p = 0.05F;              ///< 0: off.
  float repeat_penalty = 1.0F;      ///< 1: off. Logits > 0 are divided, others multiplied.
  std::int32_t repeat_window = 64;  ///< Last tokens that the penalty sees; 0: off, −1: all.
  float presence_penalty = 0.0F;    ///< Subtracted once from tokens seen in the window.
  float frequency_penalty = 0.0F;   ///< Subtracted per occurrence in the window.
  std::uint64_t seed = 0;
  std::vector<std::pair<TokenId, float>> logit_bias;  ///< Added; −inf bans a token.
};

}  // namespace quern
