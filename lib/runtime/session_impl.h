/// \file
/// The inside of a session: its program, its sequence state, and the steps that tie them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "quern/session.h"
#include "runtime/prompt_lookup.h"
#include "runtime/reply_rules.h"
#include "runtime/source_reader.h"

namespace quern {

namespace runtime {
class Reply;
}
namespace text {
class Sampler;
}

/// Thread rule: one thread at a time. Order of members is order of dependence: the sequence goes
/// before its program, the program before the weights.
struct Session::Impl {
  explicit Impl(Model of) : model(std::move(of)) {}

  Model model;
  SessionOptions options;  ///< Resolved: no zero, batch_rows ≤ context, output_rows ≤ batch_rows.
  std::shared_ptr<std::mutex> run_mutex;
  std::unique_ptr<backends::Program> program;
  std::unique_ptr<backends::SequenceState> sequence;
  std::unique_ptr<runtime::SourceReader> source;  ///< Of an encoder–decoder.
  bool has_source = false;
  std::vector<TokenId> source_ids;  ///< What was read last.
  std::vector<TokenId> tokens;      ///< Evaluated ones; capacity `context`.

  // Bindings of one step, `[batch_rows]`.
  std::vector<std::int64_t> positions;
  std::vector<backends::SequenceState*> sequences;
  std::vector<std::int32_t> output_rows;
  std::vector<std::int64_t> lengths;
  std::vector<backends::SequenceState*> beam_sequences;  ///< Of the hypotheses under way.

  Result<std::span<const float>> read_source(std::span<const TokenId> ids);
  /// Refuses ids outside the vocabulary, none at all, and any where a source is wanted first.
  Status check_ids(std::span<const TokenId> ids) const;
  /// The same, and kLimit for more than fit; before anything changes.
  Status check_step(std::span<const TokenId> ids) const;
  /// Evaluates at most batch_rows ids with logits of the last `outputs` rows. \pre checked.
  /// `length`: of the sequence once all of the call's ids are evaluated; 0: every row stands for
  /// itself, as if it had come alone. `best`: how many of the best logits will do; 0: all.
  Status run_chunk(std::span<const TokenId> ids, std::int64_t outputs, std::int64_t length,
                   std::int64_t best = 0);
  /// Appends `ids` chunk by chunk; afterwards `logits()` are those of the last one.
  /// \return false where `cancel` was seen set (then only whole chunks have been appended).
  Result<bool> append(std::span<const TokenId> ids, const std::atomic<bool>* cancel,
                      std::int64_t best = 0);
  Status step_all(std::span<const TokenId> ids,
                  const std::function<Status(std::int64_t, std::span<const float>)>& sink);
  Status rewind(std::int64_t position);
  std::span<const float> logits() const { return program->output("logits"); }
  /// Keeps the longest common prefix of state and prompt, at most all but the last token.
  Result<std::int64_t> adopt_prefix(std::span<const TokenId> prompt);
  /// Where a reply stands: what was evaluated last, and how much of it holds.
  struct Speculation {
    std::int64_t valid;              ///< Tokens in the state that belong to the text.
    std::int64_t best = 0;           ///< How many of the best logits the sampler needs; 0: all.
    std::int64_t row = 0, rows = 1;  ///< Of the last logits: the one to sample from; all.
    std::int64_t made = 0, right = 0;
    runtime::PromptLookup lookup = {};
    runtime::RuleKeeper* rules = nullptr;  ///< Where the checkpoint has any.
    std::int64_t forced = 0;               ///< Tokens of the prompt that are the reply's.

    /// Counts the guesses of the last step.
    void judge() noexcept {
      lookup.judge(rows - 1, row);
      made += rows - 1;
      right += row;
      row = 0;
      rows = 1;
    }
  };
  struct DropGuesses;
  /// What rules about a source look at: that, or the prompt where there is none.
  std::span<const TokenId> source_of(std::span<const TokenId> prompt) const noexcept {
    return source != nullptr ? std::span<const TokenId>(source_ids) : prompt;
  }
  /// Tokens of the prompt that a checkpoint forces, and that count as the reply's.
  std::int64_t forced_first(std::size_t prompt_tokens) const noexcept {
    return source != nullptr && prompt_tokens > 1 ? static_cast<std::int64_t>(prompt_tokens) - 1
                                                  : 0;
  }
  /// The token that follows, from the logits of `state.row`, when `generated` were chosen.
  Result<TokenId> choose(text::Sampler& sampler, const GenerateOptions& generation,
                         const Speculation& state, std::int64_t generated) const;
  /// Samples and evaluates until the reply ends; the state may then hold more than `valid` tokens.
  /// \pre `logits()` are those of the last token.
  Result<FinishReason> decode(text::Sampler& sampler, const GenerateOptions& generation,
                              runtime::Reply& reply, Speculation& state);
  /// Evaluates the token that was chosen, and guesses after it.
  Status extend(TokenId id, bool speculate, Speculation& state);
  Result<Generated> generate(std::span<const TokenId> prompt, const GenerateOptions& generation);
  /// Evaluates the next token of every hypothesis, in states of their own.
  Status step_beams(const std::vector<TokenId>& ids, std::int64_t position,
                    const std::vector<std::unique_ptr<backends::SequenceState>>& states);
  Result<std::vector<Hypothesis>> beam_search(std::span<const TokenId> prompt,
                                              const BeamOptions& search);
};

}  // namespace quern
