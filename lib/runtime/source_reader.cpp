#include "runtime/source_reader.h"

#include <array>
#include <numeric>
#include <string>

#include "runtime/model_state.h"
#include "runtime/session_options.h"
#include "runtime/token_ids.h"

namespace quern::runtime {

Result<std::span<const TokenId>> require_decoder_start(const Model& model) {
  if (!model.decoder_start().empty()) return model.decoder_start();
  return Error(ErrorCode::kMissing, "the checkpoint does not say what its decoder begins with")
      .in_file(model.path())
      .of("decoder_start_token_id");
}

SourceReader::SourceReader(const Model::State& state, std::unique_ptr<backends::Program> program,
                           std::int64_t most)
    : state_(state),
      program_(std::move(program)),
      positions_(static_cast<std::size_t>(most)),
      sequences_(static_cast<std::size_t>(most)) {
  std::iota(positions_.begin(), positions_.end(), std::int64_t{0});
}

Result<std::unique_ptr<SourceReader>> SourceReader::create(const Model::State& state,
                                                           const SessionOptions& resolved,
                                                           KvType kv) {
  QUERN_TRY(program,
            state.backend->compile(state.source_graph, source_options(state, resolved, kv)));
  return std::unique_ptr<SourceReader>(
      new SourceReader(state, std::move(program), resolved.max_source_tokens));
}

Status SourceReader::check(std::span<const TokenId> ids) const {
  if (ids.empty())
    return Error(ErrorCode::kInvalidArgument, "a source needs at least one token").of("ids");
  if (ids.size() > positions_.size())
    return Error(ErrorCode::kLimit, "the source is too long for the session")
        .of("max_source_tokens")
        .want("at most " + std::to_string(positions_.size()) + " tokens")
        .got(std::to_string(ids.size()));
  return check_token_ids(ids, state_.source_graph->vocab_size,
                         "a token lies outside the vocabulary of the source");
}

Result<std::span<const float>> SourceReader::read(std::span<const TokenId> ids,
                                                  backends::SequenceState& sequence) {
  QUERN_CHECK(check(ids));
  constexpr std::array<std::int32_t, 1> kStart = {0};
  sequences_.assign(sequences_.size(), &sequence);
  backends::StepBinding step;
  step.tokens = ids;
  step.positions = std::span(positions_).first(ids.size());
  step.sequences = std::span(sequences_).first(ids.size());
  step.starts = kStart;
  {
    const std::lock_guard lock(*state_.run_mutex);
    QUERN_CHECK(program_->run(step));
  }
  sequence.set_source_rows(static_cast<std::int64_t>(ids.size()));
  return program_->output("last_hidden_state");
}

}  // namespace quern::runtime
