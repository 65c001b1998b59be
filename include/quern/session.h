/// \file
/// A conversation with a model: its sequence state, steps, and generation.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quern/beam_search.h"
#include "quern/model.h"
#include "quern/trace.h"

namespace quern {

/// Counts and times of one `generate` call. Times in milliseconds of a steady clock.
struct GenerateStats {
  std::int64_t prompt_tokens = 0;  ///< Tokens of the prompt, cached ones included.
  std::int64_t cached_tokens = 0;  ///< Of these, already in the state.
  std::int64_t generated_tokens = 0;
  std::int64_t guessed_tokens = 0, accepted_tokens = 0;  ///< By speculation, see GenerateOptions.
  double prefill_ms = 0, decode_ms = 0;
};

enum class FinishReason : std::int32_t { kStop = 0, kLength = 1, kCancelled = 2, kContextFull = 3 };

struct GenerateOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = -1;  ///< −1: until the context is full.
  /// Text that ends the reply, besides the model's own (`stop_strings` of generation_config.json);
  /// not part of it. Looked for in the reply alone; the name of a control token stands for it.
  std::vector<std::string> stop;
  bool ignore_end_tokens = false;   ///< And the model's own stop strings.
  std::vector<TokenId> end_tokens;  ///< End the reply besides the model's own.
  /// Guesses at what follows from the text so far and evaluates the guesses together. The reply is
  /// the same bit for bit; text that repeats itself or its prompt comes faster.
  bool speculate = true;
  const std::atomic<bool>* cancel = nullptr;  ///< Polled before every step.
  /// Called with text that is complete UTF-8 and can no longer become part of a stop string; false
  /// stops.
  std::function<bool(std::string_view text)> on_text;
};

struct Generated {
  std::string text;
  std::vector<TokenId> ids;
  FinishReason reason = FinishReason::kStop;
  GenerateStats stats;
};

/// Thread rule: one thread at a time; several sessions of one model may run at once (their steps
/// take turns on the model's executor).
class Session {
 public:
  static Result<Session> create(const Model& model, const SessionOptions& options = {});
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  const Model& model() const noexcept;
  std::int64_t position() const noexcept;  ///< Tokens in the state.
  std::int64_t context() const noexcept;
  std::uint64_t kv_bytes() const noexcept;
  KvType kv() const noexcept;

  /// Of an encoder–decoder: evaluates the source that the decoder attends to, and forgets what the
  /// decoder had. \return the encoder's last hidden states `[n, dim]`, valid until the next call.
  /// kUnsupported for another model, kLimit for a source longer than
  /// SessionOptions::max_source_tokens, kOutOfRange for an id outside the vocabulary.
  Result<std::span<const float>> read_source(std::span<const TokenId> ids);

  /// Appends tokens and evaluates them; \return logits `[vocab_size]` of the last one, valid until
  /// the next call. kLimit where the context would be exceeded (nothing is changed then);
  /// kOutOfRange for an id outside the vocabulary; kInvalidArgument where a source is wanted first.
  Result<std::span<const float>> step(std::span<const TokenId> ids);

  /// The same with the logits of every token: `sink(first, rows)` gets `[n, vocab_size]` per chunk.
  Status step_all(
      std::span<const TokenId> ids,
      const std::function<Status(std::int64_t first, std::span<const float> rows)>& sink);

  /// Forgets everything from `position` on. kUnsupported where the state cannot go back so far.
  Status rewind(std::int64_t position);

  /// Brings the state to `prompt` (reusing the longest common prefix), then samples until an end.
  Result<Generated> generate(std::span<const TokenId> prompt, const GenerateOptions& options);

  /// The likeliest continuations of `prompt`, best first; the state is then that of the prompt.
  /// kLimit where SessionOptions::output_rows is less than the number of beams; kOutOfRange naming
  /// an option; kUnsupported where the model's state cannot be copied.
  Result<std::vector<Hypothesis>> beam_search(std::span<const TokenId> prompt,
                                              const BeamOptions& options);

  /// Where the time of all steps so far went; empty where SessionOptions::trace_events is 0.
  Result<StepTrace> trace() const;

  /// The tokens in the state, in order.
  const std::vector<TokenId>& tokens() const noexcept;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quern
