/// \file
/// Encoders: texts in, hidden states, embeddings and scores out; no state between calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "quern/kv_type.h"
#include "quern/model.h"
#include "quern/trace.h"

namespace quern {

/// What an encoder makes of one input. Valid during the callback that gets it.
struct EncoderOutput {
  std::span<const float> hidden;  ///< `[n, dim]`: the last layer's rows.
  std::span<const float> logits;  ///< `[logit_rows, cols]` of the class's head; empty: none.
  std::size_t logit_rows = 0;     ///< n where `per_token`, else 1.
  bool per_token = false;         ///< Masked words, labels of tokens; else labels of the text.
  std::span<const float> pooled;  ///< `[dim]`: the pooler's output; empty: none.
};

struct EncoderOptions {
  std::int64_t max_tokens = 0;    ///< Longest input; 0: the model's own limit, at most 8,192.
  std::int64_t batch_rows = 256;  ///< Tokens of a step that inputs share; longer inputs are alone.
  bool logits = true;             ///< Whether the head is computed.
  /// What attention keeps keys and values as on the processor. kAuto: float32; kQ8 makes long texts
  /// faster, for a cosine of about 0.9998 with the embeddings of float32.
  KvType kv = KvType::kAuto;
  /// As SessionOptions::trace_events.
  std::int64_t trace_events = 0;
};

/// Inputs of unequal length cost their tokens: a step holds several, without padding, and none
/// changes a bit of another's result. Thread rule: one thread at a time; several encoders of one
/// model may run at once (their steps take turns on the model's executor).
class Encoder {
 public:
  /// kUnsupported for a model that is no encoder, kOutOfRange for an option outside its limits.
  static Result<Encoder> create(const Model& model, const EncoderOptions& options = {});
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;
  ~Encoder();

  const Model& model() const noexcept;
  std::int64_t dim() const noexcept;
  std::int64_t max_tokens() const noexcept;

  /// Evaluates every input and calls `sink(index, output)` in their order; an error of `sink` ends
  /// it. kLimit naming the input that is too long, kOutOfRange for an id or a token type that does
  /// not exist, kInvalidArgument for an input without ids; nothing is evaluated then.
  Status run(std::span<const EncoderInput> inputs,
             const std::function<Status(std::size_t index, const EncoderOutput& output)>& sink);

  /// One embedding per input, `[inputs, width]`: rows through the checkpoint's layers for rows,
  /// pooled, through its layers for what is pooled, of length one if asked for. The width is that
  /// of the last layer, else dim() for each pooling. kMismatch where poolings other than the
  /// checkpoint's give what the layers cannot take.
  Result<std::vector<float>> embed(std::span<const EncoderInput> inputs,
                                   const EmbeddingOptions& options);

  /// As Session::trace.
  Result<StepTrace> trace() const;

 private:
  struct Impl;
  explicit Encoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// One embedding of rows `hidden` `[n, dim]`, without the checkpoint's layers: sums in the order of
/// rows, so the same bits everywhere. \pre hidden.size() is a positive multiple of dim
std::vector<float> pool_embedding(std::span<const float> hidden, std::size_t dim,
                                  const EmbeddingOptions& options);

}  // namespace quern
