/// \file
/// What a checkpoint's generation configuration forbids or favours while a reply grows, whether it
/// is drawn token by token or searched with beams. As transformers' logits processors have it.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "quern/sampling.h"

namespace quern::runtime {

/// Lengths are those of the whole sequence where a prompt is continued, of what follows a start
/// token where a source is answered.
struct ReplyRules {
  TokenId last_token = -1;  ///< What a reply gets as the last token that it may have; −1: any.
  /// Of beams: a running hypothesis may still become as long as it may before the search ends.
  bool never_early = false;
  /// Of beams: log-probabilities of tokens that have come are multiplied by it (Keskar et al. 2019,
  /// "CTRL").
  double repeat_penalty = 1.0;
  bool renormalise = false;                            ///< Of beams: over the tokens that may come.
  std::vector<TokenId> first_banned = {};              ///< Not what a reply begins with.
  std::vector<std::vector<TokenId>> banned_runs = {};  ///< Of two tokens or more each.
  std::vector<TokenId> banned = {};                    ///< Never.
  std::int64_t min_tokens = 0;                         ///< No end before so many of the reply.
  std::int64_t min_length = 0;       ///< No end while the sequence has fewer tokens.
  std::int32_t no_repeat_ngram = 0;  ///< No so many tokens come twice, the prompt's among them.
  std::int32_t source_ngram = 0;     ///< No so many that stand in the source (or the prompt).
  double source_penalty = 1.0;       ///< Tokens of the source become so much likelier.
  /// The end becomes likelier by powers of the factor, once the reply is longer than `decay_after`.
  std::int64_t decay_after = 0;
  double decay_factor = 1.0;
  /// Added to the score of a run's last token where the others stand before it.
  std::vector<std::pair<std::vector<TokenId>, float>> run_bias = {};
};

/// Where a reply stands.
struct ReplyState {
  std::span<const TokenId> all;  ///< Prompt and reply so far.
  std::int64_t made = 0;         ///< How many of them are the reply's, forced ones included.
  bool first = false;            ///< None of them was chosen yet.
  bool last = false;             ///< Only one more token may come.
};

/// Applies rules. \pre rules, source and ends outlive it. Thread rule: one thread.
class RuleKeeper {
 public:
  RuleKeeper(const ReplyRules& rules, std::span<const TokenId> source,
             std::span<const TokenId> ends)
      : rules_(rules), source_(source), ends_(ends) {}

  /// Whether any token's score may change.
  bool any() const noexcept;
  /// Whether scores change beyond what is banned.
  bool adjusts() const noexcept;
  /// The token that must come; −1: any.
  TokenId forced(const ReplyState& state) const noexcept;
  /// Appends what may not follow: ids of the vocabulary or not, some perhaps twice.
  void append_banned(const ReplyState& state, std::vector<TokenId>& out) const;
  // What changes scores − norm of all tokens, before and after penalties of what has come.
  void favour(const ReplyState& state, double norm, std::span<float> scores) const;
  void decay(const ReplyState& state, double norm, std::span<float> scores) const;
  /// All of it, with norm 0. \return `logits`, or what became of them in memory of its own.
  std::span<const float> apply(const ReplyState& state, std::span<const float> logits);

 private:
  void append_repeats(std::span<const TokenId> text, std::span<const TokenId> all, std::int32_t n,
                      std::vector<TokenId>& out) const;

  const ReplyRules& rules_;
  std::span<const TokenId> source_, ends_;
  std::vector<float> scores_;
  std::vector<TokenId> banned_;
};

}  // namespace quern::runtime
