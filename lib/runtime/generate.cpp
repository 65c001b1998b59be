#include <algorithm>
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
  for (const std::string& stop : options.stop)
    if (stop.empty())
      return Error(ErrorCode::kInvalidArgument, "a stop string is empty").of("stop");
  return {};
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

Result<FinishReason> Session::Impl::decode(text::Sampler& sampler,
                                           const GenerateOptions& generation,
                                           runtime::Reply& reply) {
  for (std::int64_t generated = 0;; ++generated) {
    if (generation.max_tokens >= 0 && generated >= generation.max_tokens)
      return FinishReason::kLength;
    if (generation.cancel != nullptr && generation.cancel->load(std::memory_order_relaxed))
      return FinishReason::kCancelled;
    QUERN_TRY(id, sampler.sample(logits(), tokens));
    if (!generation.ignore_end_tokens && model.is_end_token(id)) return FinishReason::kStop;
    if (!reply.add(id)) return reply.refused() ? FinishReason::kCancelled : FinishReason::kStop;
    if (generated + 1 == generation.max_tokens) return FinishReason::kLength;
    // The token needs no place of its own until another one is to follow it.
    if (static_cast<std::int64_t>(tokens.size()) >= options.context)
      return FinishReason::kContextFull;
    QUERN_CHECK(run_chunk(std::span(&id, 1), 1));
  }
}

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
  QUERN_TRY(complete, append(prompt.subspan(static_cast<std::size_t>(cached)), generation.cancel));
  out.stats.prefill_ms = ms_since(prefill_start);
  if (!complete) {
    out.reason = FinishReason::kCancelled;
    return out;
  }
  const auto decode_start = Clock::now();
  runtime::Reply reply(state.tokenizer ? &*state.tokenizer : nullptr, generation, out);
  QUERN_TRY(reason, decode(sampler, generation, reply));
  reply.finish();
  out.reason = reason;
  out.stats.decode_ms = ms_since(decode_start);
  return out;
}

}  // namespace quern
