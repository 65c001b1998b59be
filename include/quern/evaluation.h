/// \file
/// How well a model predicts a text, and how far its logits are from another run's.
///
/// Protocol: a text is cut into windows that do not overlap; each is evaluated from an empty state,
/// and its second half is scored, every token given all before it in the window. Figures are those
/// of llama.cpp's perplexity tool and of transformers' logits on the same windows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/session.h"

namespace quern {

/// What a LogitsScore found. Divergences in nats; 0 where nothing was compared.
struct LogitsQuality {
  std::int64_t tokens = 0;
  double perplexity = 0;  ///< exp of the mean negative log-likelihood.
  std::int64_t compared = 0;
  double kl_mean = 0, kl_p99 = 0, kl_max = 0;  ///< KL(reference ‖ scored) per token.
  double top1_agreement = 0;                   ///< Share of equal most likely tokens.
};

/// Sums up over rows of logits as they come. Thread rule: one thread.
class LogitsScore {
 public:
  /// \param row `[vocab_size]`, \param target below vocab_size. kMismatch otherwise.
  Status add(std::span<const float> row, TokenId target);
  /// The same and its divergence from `reference`, a row of the same length.
  Status add(std::span<const float> row, TokenId target, std::span<const float> reference);
  LogitsQuality result() const;

 private:
  double nll_ = 0;
  std::int64_t tokens_ = 0, agreed_ = 0;
  std::vector<double> divergences_;
};

/// Number of the first scored token of a window of `context` tokens.
constexpr std::size_t first_scored(std::size_t context) noexcept { return context / 2; }

/// Evaluates one window from an empty state; `sink(first, rows)` gets the logits that predict the
/// window's tokens from `first` on, `[n, vocab_size]`, in order. Errors: those of the session and
/// of the sink; kInvalidArgument for fewer than 2 tokens.
Status evaluate_window(
    Session& session, std::span<const TokenId> window,
    const std::function<Status(std::size_t first, std::span<const float> rows)>& sink);

/// log softmax of `row` at `target`, in nats. kMismatch for a target outside the row.
Result<double> log_likelihood_of(std::span<const float> row, TokenId target);

/// How likely a text is as the continuation of another. Natural logarithms.
struct Likelihood {
  double log_likelihood = 0;  ///< Summed up over the tokens.
  std::int64_t tokens = 0;    ///< That were scored.
  std::int64_t bytes = 0;     ///< Of the text; 0 where only ids were given.
  bool is_greedy = true;      ///< Whether no token was less likely than another one.

  double per_token() const noexcept;  ///< The mean; 0 for none.
  double per_byte() const noexcept;
};

/// The likelihood of every one of `continuations` behind `prompt`, in order; an encoder–decoder's
/// prompt is its source. The prompt is evaluated once, less what the session's state already shares
/// with it (where a state cannot go back, again for every continuation). Errors: kInvalidArgument
/// for an empty prompt or continuation; those of the session.
Result<std::vector<Likelihood>> continuation_likelihoods(
    Session& session, std::span<const TokenId> prompt,
    std::span<const std::vector<TokenId>> continuations);

/// Continuations of a text as ids, and what they all share in front of them.
struct ContinuationIds {
  std::vector<TokenId> prompt;
  std::vector<std::vector<TokenId>> continuations;
};

/// Context and continuation are encoded as one text each; the prompt is what is the same in all of
/// them and in the context alone, so that a token across the border is scored, and in all of them
/// from the same place. Those of an encoder–decoder are texts of their own. Errors: kMissing for a
/// model without a tokenizer; kInvalidArgument for an empty continuation.
Result<ContinuationIds> encode_continuations(const Model& model, std::string_view context,
                                             std::span<const std::string> continuations,
                                             bool parse_special = false);

/// The same for texts. Errors: those of both.
Result<std::vector<Likelihood>> continuation_likelihoods(Session& session, std::string_view context,
                                                         std::span<const std::string> continuations,
                                                         bool parse_special = false);

}  // namespace quern
