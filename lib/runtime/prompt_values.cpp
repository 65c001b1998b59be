#include "runtime/prompt_values.h"

#include <algorithm>

#include "quern/encoder.h"

namespace quern::runtime {
namespace {

using RowSink = std::function<Status(std::span<const float>)>;

Status each_row(std::span<const float> rows, std::size_t count, const RowSink& sink) {
  const std::size_t cols = count == 0 ? 0 : rows.size() / count;
  for (std::size_t i = 0; i < count && cols > 0; ++i)
    QUERN_CHECK(sink(rows.subspan(i * cols, cols)));
  return {};
}

Status run_encoder(const Model& model, std::span<const TokenId> prompt, const RowSink& sink) {
  EncoderOptions options;
  options.max_tokens = options.batch_rows = static_cast<std::int64_t>(prompt.size());
  QUERN_TRY(encoder, Encoder::create(model, options));
  const EncoderInput input{{prompt.begin(), prompt.end()}, {}};
  return encoder.run({&input, 1}, [&](std::size_t, const EncoderOutput& output) -> Status {
    QUERN_CHECK(each_row(output.hidden, prompt.size(), sink));
    return each_row(output.logits, output.logit_rows, sink);
  });
}

/// The same ids are the source and what the decoder reads.
Status run_encoder_decoder(const Model& model, std::span<const TokenId> prompt, KvType kv,
                           const RowSink& sink) {
  SessionOptions options;
  options.context = options.batch_rows = options.max_source_tokens =
      static_cast<std::int64_t>(prompt.size());
  options.kv = kv;
  QUERN_TRY(session, Session::create(model, options));
  QUERN_TRY(states, session.read_source(prompt));
  QUERN_CHECK(each_row(states, prompt.size(), sink));
  return session.step_all(
      prompt, [&](std::int64_t, std::span<const float> rows) -> Status { return sink(rows); });
}

}  // namespace

std::int64_t prompt_vocabulary(const Model& model) {
  return std::min(model.vocab_size(), model.source_vocab_size());
}

Status evaluate_prompt(const Model& model, std::span<const TokenId> prompt, KvType kv,
                       const RowSink& sink) {
  if (model.is_encoder()) return run_encoder(model, prompt, sink);
  if (model.is_encoder_decoder()) return run_encoder_decoder(model, prompt, kv, sink);
  SessionOptions options;
  options.context = options.batch_rows = static_cast<std::int64_t>(prompt.size());
  options.kv = kv;
  QUERN_TRY(session, Session::create(model, options));
  // Rows come one by one: the numerics law makes them the same as in one step.
  return session.step_all(
      prompt, [&](std::int64_t, std::span<const float> rows) -> Status { return sink(rows); });
}

}  // namespace quern::runtime
