/// \file
/// From what a caller asks of a session to what a backend is told; shared by sessions, encoders and
/// plans.
#pragma once

#include "backends/backend.h"
#include "quern/model.h"

namespace quern::runtime {

/// Of sessions and encoders alike.
constexpr std::int64_t kMaxBatchRows = 1 << 16;
constexpr std::int64_t kMaxTraceEvents = 1 << 30;

/// Fills in defaults and refuses what cannot be: kOutOfRange naming the option.
Result<SessionOptions> resolve_session_options(const Model::State& state,
                                               const SessionOptions& options);

/// \param resolved what `resolve_session_options` returned.
backends::CompileOptions compile_options(const Model::State& state, const SessionOptions& resolved);
/// The same for the graph of the source, which writes into a cache of the decoder's kind.
backends::CompileOptions source_options(const Model::State& state, const SessionOptions& resolved,
                                        KvType kv);
/// How long a session's sequence may become.
backends::SequenceSize sequence_size(const SessionOptions& resolved);

}  // namespace quern::runtime
