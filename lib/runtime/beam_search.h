/// \file
/// The hypotheses of a beam search, apart from the model that scores their continuations.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quern/beam_search.h"
#include "quern/result.h"
#include "runtime/reply_rules.h"
#include "runtime/stop_strings.h"

namespace quern::runtime {

/// kOutOfRange naming the option.
Status check_beam_options(const BeamOptions& options, std::int64_t vocab_size);

/// Thread rule: one thread.
class BeamSearch {
 public:
  /// \param prompt what the hypotheses continue, for `no_repeat_ngram`. \param max_tokens at least
  /// 1. \param counted tokens of the prompt that count as generated in lengths, but not in
  /// max_tokens (a forced first token). \param source what is answered, or the prompt.
  /// \param stops what ends a hypothesis by its text; null: nothing.
  BeamSearch(const BeamOptions& options, std::span<const TokenId> prompt,
             std::span<const TokenId> end_tokens, std::int64_t max_tokens, std::int64_t counted,
             const ReplyRules& rules = {}, std::span<const TokenId> source = {},
             const StopStrings* stops = nullptr);

  BeamSearch(const BeamSearch&) = delete;

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
  /// Whether its token completes a stop string.
  bool stops(const Candidate& candidate) const;
  /// What may follow `beam`, in `order_`.
  void list_allowed(const Beam& beam, std::size_t vocab_size);
  /// The logits as they are after the penalty of what has come and what the rules change.
  std::vector<float> adjusted(const Beam& beam, std::span<const float> logits, double norm);
  ReplyState state_of(const Beam& beam);
  void add_candidates(std::size_t beam, std::span<const float> logits,
                      std::vector<Candidate>& candidates);
  double normalised(double log_probability, std::int64_t length) const;
  /// \param stopped by a stop string.
  void finish(const Candidate& candidate, bool stopped);

  const BeamOptions& options_;
  std::span<const TokenId> prompt_, end_tokens_;
  const std::int64_t max_tokens_, counted_;
  const ReplyRules rules_;  ///< With those of the options.
  RuleKeeper keeper_;
  const StopStrings* stops_;
  // Kept from one hypothesis to the next.
  std::vector<TokenId> all_;  ///< Prompt and hypothesis.
  std::vector<TokenId> banned_, order_;
  std::vector<bool> is_banned_;  ///< `[vocab_size]`, all false between calls.
  std::int64_t length_ = 0;      ///< Tokens of every running hypothesis.
  std::vector<Beam> running_;
  std::vector<Hypothesis> finished_;  ///< Best first, at most `beams`.
  bool improvable_ = true;
};

}  // namespace quern::runtime
