/// \file
/// Guesses at the next tokens from the text so far, for speculation.
///
/// Where the last tokens have stood in the text before, what followed them then is likely to follow
/// again (Saxena 2023, "Prompt Lookup Decoding"; Yang et al. 2023, "Inference with Reference"). The
/// guesses are evaluated together with the token before them; those that the sampler would not have
/// chosen are thrown away (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative
/// Decoding"), so the reply is the same as without.
#pragma once

#include <cstdint>
#include <span>

#include "quern/sampling.h"

namespace quern::runtime {

/// Most guesses of one step: with the token before them they are one row tile of a linear layer.
inline constexpr std::int64_t kMostGuesses = 7;

/// Adapts the number of guesses to how many prove right, and rests where none do, so that text that
/// does not repeat costs next to nothing. Deterministic. Thread rule: one thread.
class PromptLookup {
 public:
  /// \return guesses at what follows `history`, at most `most` of them, as a part of it; empty
  /// where its end has not stood in it before, or while resting.
  std::span<const TokenId> guess(std::span<const TokenId> history, std::int64_t most) noexcept;

  /// How many of the guesses made last were right.
  void judge(std::int64_t made, std::int64_t right) noexcept;

 private:
  std::int64_t limit_ = 3;  ///< Guesses to make at once.
  std::int64_t rest_ = 0;   ///< Tokens to let pass first.
  std::int64_t next_rest_ = kLeastRest;

  static constexpr std::int64_t kLeastRest = 16, kMostRest = 256;
};

}  // namespace quern::runtime
