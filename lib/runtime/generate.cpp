#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <utility>

#include "runtime/model_state.h"
#include "runtime/reply.h"
#include "runtime/session_impl.h"
#include "text/sampler.h"

namespace quern {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Status check_options(const GenerateOptions& options) {
  if (options.max_tokens < -1)
    return Error(ErrorCode::kOutOfRange, "a generation option is out of range")
        .of("max_tokens")
        .want("-1 or more")
        .got(std::to_string(options.max_tokens));
  return runtime::check_stops(options.stop);
}

bool ends_reply(const Model& model, const GenerateOptions& options, TokenId id) {
  const auto& ends = options.end_tokens;
  return model.is_end_token(id) || std::find(ends.begin(), ends.end(), id) != ends.end();
}

}  // namespace

Result<std::int64_t> Session::Impl::adopt_prefix(std::span<const TokenId> prompt) {
  const auto differ = std::mismatch(tokens.begin(), tokens.end(), prompt.begin(), prompt.end());
  // The last token is evaluated in any case: its logits are needed.
  const std::int64_t common = std::min<std::int64_t>(differ.first - tokens.begin(),
                                                     static_cast<std::int64_t>(prompt.size()) - 1);
  Status rewound = rewind(common);
  if (rewound.ok()) return common;
  if (rewound.error().code != ErrorCode::kUnsupported) return std::move(rewound).error();
  QUERN_CHECK(rewind(0));  // A window that has moved on cannot come back; start afresh.
  return 0;
}

Status Session::Impl::extend(TokenId id, bool speculate, Speculation& state) {
  QUERN_CHECK(rewind(state.valid));  // Guesses that proved wrong.
  std::array<TokenId, runtime::kMostGuesses + 1> rows{id};
  std::size_t count = 1;
  if (speculate) {
    tokens.push_back(id);  // `tokens` has the capacity of the context.
    const std::int64_t room = std::min(options.context - state.valid, options.output_rows) - 1;
    const auto guesses = state.lookup.guess(tokens, room);
    std::copy(guesses.begin(), guesses.end(), rows.begin() + 1);
    count += guesses.size();
    tokens.pop_back();
  }
  QUERN_CHECK(
      run_chunk(std::span(rows).first(count), static_cast<std::int64_t>(count), 0, state.best));
  state.row = 0;
  state.rows = static_cast<std::int64_t>(count);
  ++state.valid;
  return {};
}

Result<TokenId> Session::Impl::choose(text::Sampler& sampler, const GenerateOptions& generation,
                                      const Speculation& state, std::int64_t generated) const {
  const auto history = std::span(tokens).first(static_cast<std::size_t>(state.valid));
  const auto best = program->best(state.row);
  if (!best.empty()) return sampler.sample_best(best, history);
  const auto vocab_size = static_cast<std::size_t>(model.state().vocab_size);
  const auto first = static_cast<std::size_t>(state.row) * vocab_size;
  const std::span<const float> own = logits().subspan(first, vocab_size);
  if (state.rules == nullptr) return sampler.sample(own, history);
  const bool last = !generation.ignore_end_tokens && generated + 1 == generation.max_tokens;
  return sampler.sample(
      state.rules->apply({history, state.forced + generated, generated == 0, last}, own), history);
}

Result<FinishReason> Session::Impl::decode(text::Sampler& sampler,
                                           const GenerateOptions& generation, runtime::Reply& reply,
                                           Speculation& state) {
  for (std::int64_t generated = 0;; ++generated) {
    if (generation.max_tokens >= 0 && generated >= generation.max_tokens)
      return FinishReason::kLength;
    if (generation.cancel != nullptr && generation.cancel->load(std::memory_order_relaxed))
      return FinishReason::kCancelled;
    QUERN_TRY(id, choose(sampler, generation, state, generated));
    if (!generation.ignore_end_tokens && ends_reply(model, generation, id))
      return FinishReason::kStop;
    if (!reply.add(id)) return reply.refused() ? FinishReason::kCancelled : FinishReason::kStop;
    if (generated + 1 == generation.max_tokens) return FinishReason::kLength;
    // The token needs no place of its own until another one is to follow it.
    if (state.valid >= options.context) return FinishReason::kContextFull;
    if (state.row + 1 < state.rows && tokens[static_cast<std::size_t>(state.valid)] == id) {
      ++state.row;  // It was guessed, and stands in the state already.
      ++state.valid;
      continue;
    }
    state.judge();
    QUERN_CHECK(extend(id, generation.speculate && sequence->rewinds(), state));
  }
}

/// Takes what was guessed and not chosen out of the state, however the reply ends: an error and a
/// callback that throws included. There are guesses only where the state can go back.
struct Session::Impl::DropGuesses {
  Impl& session;
  const Speculation& speculation;
  ~DropGuesses() { static_cast<void>(session.rewind(speculation.valid)); }
};

Result<Generated> Session::Impl::generate(std::span<const TokenId> prompt,
                                          const GenerateOptions& generation) {
  QUERN_CHECK(check_options(generation));
  QUERN_CHECK(check_ids(prompt));
  if (static_cast<std::int64_t>(prompt.size()) > options.context)
    return Error(ErrorCode::kLimit, "the prompt does not fit into the context")
        .of("context")
        .want("at most " + std::to_string(options.context) + " tokens")
        .got(std::to_string(prompt.size()));
  const Model::State& state = model.state();
  QUERN_TRY(sampler, text::Sampler::create(generation.sampling, state.vocab_size));
  Generated out;
  const auto prefill_start = Clock::now();
  QUERN_TRY(cached, adopt_prefix(prompt));
  out.stats.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  out.stats.cached_tokens = cached;
  runtime::RuleKeeper rules(state.generation.rules, source_of(prompt), state.end_tokens);
  const std::int64_t best = rules.any() ? 0 : sampler.needed();
  QUERN_TRY(complete,
            append(prompt.subspan(static_cast<std::size_t>(cached)), generation.cancel, best));
  out.stats.prefill_ms = ms_since(prefill_start);
  if (!complete) {
    out.reason = FinishReason::kCancelled;
    return out;
  }
  const auto decode_start = Clock::now();
  std::span<const std::string> stops = state.generation.stop;
  if (generation.ignore_end_tokens) stops = {};
  runtime::Reply reply(state.tokenizer ? &*state.tokenizer : nullptr, generation, stops, out);
  Speculation speculation{static_cast<std::int64_t>(tokens.size()), best};
  speculation.rules = rules.any() ? &rules : nullptr;
  speculation.forced = forced_first(prompt.size());
  const DropGuesses drop{*this, speculation};
  QUERN_TRY(reason, decode(sampler, generation, reply, speculation));
  speculation.judge();
  reply.finish();
  out.stats.guessed_tokens = speculation.made;
  out.stats.accepted_tokens = speculation.right;
  out.reason = reason;
  out.stats.decode_ms = ms_since(decode_start);
  return out;
}

}  // namespace quern
