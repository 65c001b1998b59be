/// \file
/// The hypotheses of a beam search, apart from the model that scores their continuations.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quern/beam_search.h"
#include "quern/result.h"

namespace quern::runtime {

/// kOutOfRange naming the option.
Status check_beam_options(const BeamOptions& options, std::int64_t vocab_size);

/// What a checkpoint's generation configuration says about beams beyond their options.
struct BeamRules {
  TokenId last_token = -1;  ///< What a hypothesis gets as the last token that it may have; −1: any.
  /// A running hypothesis may still become as long as it may before the search is given up.
  bool never_early = false;
  /// Log-probabilities of tokens that have come are multiplied by it (Keskar et al. 2019, "CTRL").
  double repeat_penalty = 1.0;
  bool renormalise = false;                            ///< Over the tokens that may come.
  std::vector<TokenId> first_banned = {};              ///< Not what a hypothesis begins with.
  std::vector<std::vector<TokenId>> banned_runs = {};  ///< Of two tokens or more each.
};

/// Thread rule: one thread.
class BeamSearch {
 public:
  /// \param prompt what the hypotheses continue, for `no_repeat_ngram`. \param max_tokens at least
  /// 1. \param counted tokens of the prompt that count as generated in lengths, but not in
  /// max_tokens (a forced first token).
  BeamSearch(const BeamOptions& options, std::span<const TokenId> prompt,
             std::span<const TokenId> end_tokens, std::int64_t max_tokens, std::int64_t counted,
             const BeamRules& rules = {});

  /// One hypothesis under way. `parent`: its place among those before the last `advance`.
  struct Beam {
    std::vector<TokenId> ids;
    double log_probability = 0;
    std::size_t parent = 0;
  };
  /// At first one without tokens; best first.
  const std::vector<Beam>& running() const noexcept { return running_; }

  /// Takes the logits of what may follow every running hypothesis, `[running, vocab_size]`.
  /// \return whether the search goes on.
  bool advance(std::span<const float> logits);

  /// The best ones, best first; those under way where the search was cut off.
  std::vector<Hypothesis> results() const;

 private:
  struct Candidate {
    double log_probability;
    std::size_t beam;
    TokenId id;
  };

  bool is_end(TokenId id) const noexcept;
  /// Tokens that may not follow `beam`.
  std::vector<TokenId> excluded(const Beam& beam) const;
  /// The logits as they are after the penalty of what has come.
  std::vector<float> penalised(const Beam& beam, std::span<const float> logits, double norm) const;
  void add_candidates(std::size_t beam, std::span<const float> logits,
                      std::vector<Candidate>& candidates) const;
  double normalised(double log_probability, std::int64_t length) const;
  void finish(const Candidate& candidate);

  const BeamOptions& options_;
  std::span<const TokenId> prompt_, end_tokens_;
  const std::int64_t max_tokens_, counted_;
  const BeamRules rules_;
  std::int64_t length_ = 0;  ///< Tokens of every running hypothesis.
  std::vector<Beam> running_;
  std::vector<Hypothesis> finished_;  ///< Best first, at most `beams`.
  bool improvable_ = true;
};

}  // namespace quern::runtime
