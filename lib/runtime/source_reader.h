/// \file
/// The encoder of an encoder–decoder: it reads a source into the state of a sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "quern/model.h"

namespace quern::runtime {

/// Model::decoder_start of an encoder–decoder; kMissing where the checkpoint does not say it.
Result<std::span<const TokenId>> require_decoder_start(const Model& model);

/// Thread rule: one thread at a time.
class SourceReader {
 public:
  /// \param resolved what `resolve_session_options` returned. \param kv of the decoder's program.
  /// \pre the model has a source graph.
  static Result<std::unique_ptr<SourceReader>> create(const Model::State& state,
                                                      const SessionOptions& resolved, KvType kv);

  /// Evaluates the source and stores what the decoder attends to in `sequence`.
  /// \return the encoder's last hidden states `[n, dim]`, valid until the next call. Errors: as
  /// `check`, and then the sequence is as it was; those of a step, and then it holds no source.
  Result<std::span<const float>> read(std::span<const TokenId> ids,
                                      backends::SequenceState& sequence);

  /// kLimit for more tokens than the session was made for, kOutOfRange for an id outside the
  /// vocabulary, kInvalidArgument for none.
  Status check(std::span<const TokenId> ids) const;

  const backends::Program& program() const noexcept { return *program_; }

 private:
  SourceReader(const Model::State& state, std::unique_ptr<backends::Program> program,
               std::int64_t most);

  const Model::State& state_;
  std::unique_ptr<backends::Program> program_;
  std::vector<std::int64_t> positions_;
  std::vector<backends::SequenceState*> sequences_;
};

}  // namespace quern::runtime
