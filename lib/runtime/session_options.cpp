#include "runtime/session_options.h"

#include <algorithm>
#include <string>

#include "runtime/model_state.h"

namespace quern::runtime {
namespace {

constexpr std::int64_t kDefaultContext = 8192;

Error out_of_range(const char* option, std::int64_t low, std::int64_t high, std::int64_t found) {
  return Error(ErrorCode::kOutOfRange, "a session option is out of range")
      .of(option)
      .want(std::to_string(low) + " … " + std::to_string(high))
      .got(std::to_string(found));
}

}  // namespace

Result<SessionOptions> resolve_session_options(const Model::State& state,
                                               const SessionOptions& options) {
  SessionOptions resolved = options;
  if (options.context < 0 || options.context > state.max_seq_len)
    return out_of_range("context", 0, state.max_seq_len, options.context);
  if (options.batch_rows < 1 || options.batch_rows > kMaxBatchRows)
    return out_of_range("batch_rows", 1, kMaxBatchRows, options.batch_rows);
  if (options.output_rows < 1 || options.output_rows > kMaxBatchRows)
    return out_of_range("output_rows", 1, kMaxBatchRows, options.output_rows);
  if (options.trace_events < 0 || options.trace_events > kMaxTraceEvents)
    return out_of_range("trace_events", 0, kMaxTraceEvents, options.trace_events);
  if (options.kv > KvType::kQ4)
    return out_of_range("kv", 0, static_cast<std::int64_t>(KvType::kQ4),
                        static_cast<std::int64_t>(options.kv));
  if (resolved.kv == KvType::kAuto) resolved.kv = state.kv;
  const std::int64_t longest = state.source_graph ? state.max_seq_len : 0;
  if (options.max_source_tokens < 0 || options.max_source_tokens > longest)
    return out_of_range("max_source_tokens", 0, longest, options.max_source_tokens);
  if (resolved.max_source_tokens == 0)
    resolved.max_source_tokens = std::min(longest, kDefaultContext);
  if (resolved.context == 0) resolved.context = std::min(state.max_seq_len, kDefaultContext);
  resolved.batch_rows = std::min(resolved.batch_rows, resolved.context);
  resolved.output_rows = std::min(resolved.output_rows, resolved.batch_rows);
  return resolved;
}

backends::CompileOptions compile_options(const Model::State& state,
                                         const SessionOptions& resolved) {
  backends::CompileOptions compile;
  compile.max_rows = resolved.batch_rows;
  compile.max_outputs = resolved.output_rows;
  compile.max_positions = resolved.context;
  compile.max_source = resolved.max_source_tokens;
  compile.kv = resolved.kv;
  compile.executor = state.executor;
  compile.trace_events = resolved.trace_events;
  compile.fast = state.options.fast;
  return compile;
}

backends::CompileOptions source_options(const Model::State& state, const SessionOptions& resolved,
                                        KvType kv) {
  backends::CompileOptions compile = compile_options(state, resolved);
  compile.max_rows = compile.max_positions = resolved.max_source_tokens;
  compile.max_outputs = 0;
  compile.kv = kv;
  compile.trace_events = 0;
  return compile;
}

backends::SequenceSize sequence_size(const SessionOptions& resolved) {
  return {resolved.context, resolved.max_source_tokens};
}

}  // namespace quern::runtime
