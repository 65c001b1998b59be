#include "quern/session.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/guard.h"
#include "runtime/model_state.h"
#include "runtime/session_impl.h"
#include "runtime/session_options.h"
#include "runtime/token_ids.h"

namespace quern {

Status Session::Impl::check_ids(std::span<const TokenId> ids) const {
  if (ids.empty())
    return Error(ErrorCode::kInvalidArgument, "at least one token is needed").of("ids");
  if (source != nullptr && !has_source)
    return Error(ErrorCode::kInvalidArgument,
                 "an encoder–decoder answers a source: it has none yet")
        .want("Session::read_source first");
  return runtime::check_token_ids(ids, model.state().vocab_size,
                                  "a token lies outside the vocabulary");
}

Status Session::Impl::check_step(std::span<const TokenId> ids) const {
  QUERN_CHECK(check_ids(ids));
  const auto used = static_cast<std::int64_t>(tokens.size());
  if (static_cast<std::int64_t>(ids.size()) > options.context - used)
    return Error(ErrorCode::kLimit, "the context is full")
        .of("context")
        .want("at most " + std::to_string(options.context - used) + " more tokens")
        .got(std::to_string(ids.size()));
  return {};
}

Status Session::Impl::run_chunk(std::span<const TokenId> ids, std::int64_t outputs,
                                std::int64_t length, std::int64_t best) {
  const std::size_t rows = ids.size(), wanted = static_cast<std::size_t>(outputs);
  std::iota(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(rows),
            static_cast<std::int64_t>(tokens.size()));
  std::iota(output_rows.begin(), output_rows.begin() + static_cast<std::ptrdiff_t>(wanted),
            static_cast<std::int32_t>(rows - wanted));
  backends::StepBinding binding;
  binding.tokens = ids;
  binding.positions = std::span(positions).first(rows);
  binding.sequences = std::span(sequences).first(rows);
  binding.output_rows = std::span(output_rows).first(wanted);
  binding.best = best;
  if (length > 0) {
    std::fill_n(lengths.begin(), rows, length);
    binding.lengths = std::span(lengths).first(rows);
  }
  {
    const std::lock_guard lock(*run_mutex);
    QUERN_CHECK(program->run(binding));
  }
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  return {};
}

Result<bool> Session::Impl::append(std::span<const TokenId> ids, const std::atomic<bool>* cancel,
                                   std::int64_t best) {
  const auto rows = static_cast<std::size_t>(options.batch_rows);
  const auto length = static_cast<std::int64_t>(tokens.size() + ids.size());
  while (!ids.empty()) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    const std::size_t now = std::min(rows, ids.size());
    QUERN_CHECK(run_chunk(ids.first(now), now == ids.size() ? 1 : 0, length, best));
    ids = ids.subspan(now);
  }
  return true;
}

Status Session::Impl::step_all(
    std::span<const TokenId> ids,
    const std::function<Status(std::int64_t, std::span<const float>)>& sink) {
  const auto rows = static_cast<std::size_t>(std::min(options.batch_rows, options.output_rows));
  const auto length = static_cast<std::int64_t>(tokens.size() + ids.size());
  std::int64_t first = 0;
  while (!ids.empty()) {
    const std::size_t now = std::min(rows, ids.size());
    QUERN_CHECK(run_chunk(ids.first(now), static_cast<std::int64_t>(now), length));
    QUERN_CHECK(sink(first, logits()));
    first += static_cast<std::int64_t>(now);
    ids = ids.subspan(now);
  }
  return {};
}

Status Session::Impl::rewind(std::int64_t position) {
  const auto used = static_cast<std::int64_t>(tokens.size());
  if (position < 0 || position > used)
    return Error(ErrorCode::kOutOfRange, "a session cannot be rewound to there")
        .of("position")
        .want("0 … " + std::to_string(used))
        .got(std::to_string(position));
  if (position == used) return {};
  QUERN_CHECK(sequence->rewind(position));
  tokens.resize(static_cast<std::size_t>(position));
  return {};
}

Result<std::span<const float>> Session::Impl::read_source(std::span<const TokenId> ids) {
  if (source == nullptr)
    return Error(ErrorCode::kUnsupported, "the model reads no source: it is no encoder–decoder")
        .in_file(model.path());
  QUERN_CHECK(source->check(ids));
  has_source = false;  // Should the step fail, a part of another source stands there.
  tokens.clear();
  QUERN_CHECK(sequence->rewind(0));
  source_ids.assign(ids.begin(), ids.end());
  QUERN_TRY(states, source->read(ids, *sequence));
  has_source = true;
  return states;
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::create(const Model& model, const SessionOptions& options) {
  return base::guarded([&]() -> Result<Session> {
    const Model::State& state = model.state();
    if (state.graph == nullptr)
      return Error(ErrorCode::kInvalidArgument, "a vocabulary alone cannot run a session")
          .in_file(state.file.path());
    if (state.is_encoder())
      return Error(ErrorCode::kUnsupported,
                   "an encoder writes no text: its states come from an Encoder (quern embed, "
                   "rerank, logits)")
          .in_file(state.file.path());
    auto impl = std::make_unique<Impl>(model);
    QUERN_TRY(resolved, runtime::resolve_session_options(state, options));
    impl->options = resolved;
    impl->run_mutex = state.run_mutex;
    QUERN_TRY(program,
              state.backend->compile(state.graph, runtime::compile_options(state, resolved)));
    QUERN_TRY(sequence, program->new_sequence(runtime::sequence_size(resolved)));
    if (state.source_graph != nullptr) {
      QUERN_TRY(source, runtime::SourceReader::create(state, resolved, program->kv()));
      impl->source = std::move(source);
    }
    impl->program = std::move(program);
    impl->sequence = std::move(sequence);
    const auto rows = static_cast<std::size_t>(resolved.batch_rows);
    impl->tokens.reserve(static_cast<std::size_t>(resolved.context));
    impl->positions.resize(rows);
    impl->output_rows.resize(rows);
    impl->lengths.resize(rows);
    impl->sequences.assign(rows, impl->sequence.get());
    return Session(std::move(impl));
  });
}

const Model& Session::model() const noexcept { return impl_->model; }
std::int64_t Session::position() const noexcept {
  return static_cast<std::int64_t>(impl_->tokens.size());
}
std::int64_t Session::context() const noexcept { return impl_->options.context; }
std::uint64_t Session::kv_bytes() const noexcept { return impl_->sequence->bytes(); }
KvType Session::kv() const noexcept { return impl_->program->kv(); }
Result<StepTrace> Session::trace() const {
  return base::guarded([&]() -> Result<StepTrace> { return impl_->program->trace(); });
}
const std::vector<TokenId>& Session::tokens() const noexcept { return impl_->tokens; }

Result<std::span<const float>> Session::read_source(std::span<const TokenId> ids) {
  return base::guarded([&] { return impl_->read_source(ids); });
}

Result<std::span<const float>> Session::step(std::span<const TokenId> ids) {
  return base::guarded([&]() -> Result<std::span<const float>> {
    QUERN_CHECK(impl_->check_step(ids));
    QUERN_CHECK(impl_->append(ids, nullptr));
    return impl_->logits();
  });
}

Status Session::step_all(
    std::span<const TokenId> ids,
    const std::function<Status(std::int64_t first, std::span<const float> rows)>& sink) {
  return base::guarded([&]() -> Status {
    QUERN_CHECK(impl_->check_step(ids));
    return impl_->step_all(ids, sink);
  });
}

Status Session::rewind(std::int64_t position) {
  return base::guarded([&] { return impl_->rewind(position); });
}

Result<Generated> Session::generate(std::span<const TokenId> prompt,
                                    const GenerateOptions& options) {
  return base::guarded([&] { return impl_->generate(prompt, options); });
}

}  // namespace quern
