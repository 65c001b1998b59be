#include "quern/encoder.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "base/guard.h"
#include "runtime/embedding_layers.h"
#include "runtime/model_state.h"
#include "runtime/pooling.h"
#include "runtime/session_options.h"

namespace quern {
namespace {

constexpr std::int64_t kMostTokens = 8192;
constexpr std::int64_t kLayerRows = 256;  // At once, of the layers around the pooling.

Error out_of_range(const char* what, std::int64_t low, std::int64_t high, std::int64_t found) {
  return Error(ErrorCode::kOutOfRange, "an argument of the encoder is out of range")
      .of(what)
      .want(std::to_string(low) + " … " + std::to_string(high))
      .got(std::to_string(found));
}

const graph::Value* find_output(const graph::Graph& graph, std::string_view name) {
  for (const graph::Output& output : graph.outputs) {
    if (output.name == name) return &graph.values[static_cast<std::size_t>(output.value)];
  }
  return nullptr;
}

}  // namespace

/// Thread rule: as Encoder. The program goes before the weights.
struct Encoder::Impl {
  explicit Impl(Model of) : model(std::move(of)) {}

  Model model;
  EncoderOptions options;  ///< Resolved: no zero.
  std::unique_ptr<backends::Program> program;
  std::size_t dim = 0;
  const graph::Value* logits = nullptr;  ///< Of the model's graph; nullptr: no head.
  const graph::Value* pooled = nullptr;
  std::optional<runtime::LayerStack> row_layers, embedding_layers;

  // Bindings of one step.
  std::vector<TokenId> tokens;
  std::vector<std::int64_t> positions;
  std::vector<std::int32_t> types, starts, output_rows;

  Status check(const EncoderInput& input, std::size_t index) const;
  void append(const EncoderInput& input);
  Status run_step();
  EncoderOutput output(std::size_t index) const;
  Status run(std::span<const EncoderInput> inputs,
             const std::function<Status(std::size_t, const EncoderOutput&)>& sink);
  Status add_layers(backends::CompileOptions compile);
  Status check_width(const EmbeddingOptions& wanted) const;
  Result<std::vector<float>> embed(std::span<const EncoderInput> inputs,
                                   const EmbeddingOptions& wanted);
};

Status Encoder::Impl::check(const EncoderInput& input, std::size_t index) const {
  const Model::State& state = model.state();
  const std::string which = "input " + std::to_string(index);
  if (input.ids.empty())
    return Error(ErrorCode::kInvalidArgument, "at least one token is needed").of(which);
  if (static_cast<std::int64_t>(input.ids.size()) > options.max_tokens)
    return Error(ErrorCode::kLimit, "the text is too long for the model")
        .of(which)
        .want("at most " + std::to_string(options.max_tokens) + " tokens")
        .got(std::to_string(input.ids.size()));
  if (!input.types.empty() && input.types.size() != input.ids.size())
    return Error(ErrorCode::kInvalidArgument, "there is not one token type per id")
        .of(which)
        .want(std::to_string(input.ids.size()))
        .got(std::to_string(input.types.size()));
  for (const TokenId id : input.ids) {
    if (id < 0 || id >= state.vocab_size) return out_of_range("id", 0, state.vocab_size - 1, id);
  }
  const std::int64_t last_type = std::max<std::int64_t>(state.n_types, 1) - 1;
  for (const std::int32_t type : input.types) {
    if (type < 0 || type > last_type) return out_of_range("token type", 0, last_type, type);
  }
  return {};
}

void Encoder::Impl::append(const EncoderInput& input) {
  starts.push_back(static_cast<std::int32_t>(tokens.size()));
  tokens.insert(tokens.end(), input.ids.begin(), input.ids.end());
  if (input.types.empty())
    types.insert(types.end(), input.ids.size(), 0);
  else
    types.insert(types.end(), input.types.begin(), input.types.end());
  const std::size_t first = positions.size();
  positions.resize(tokens.size());
  std::iota(positions.begin() + static_cast<std::ptrdiff_t>(first), positions.end(),
            std::int64_t{0});
}

Status Encoder::Impl::run_step() {
  output_rows.resize(options.logits ? tokens.size() : 0);
  std::iota(output_rows.begin(), output_rows.end(), 0);
  backends::StepBinding step;
  step.tokens = tokens;
  step.positions = positions;
  step.output_rows = output_rows;
  step.types = types;
  step.starts = starts;
  const std::lock_guard lock(*model.state().run_mutex);
  return program->run(step);
}

EncoderOutput Encoder::Impl::output(std::size_t index) const {
  const auto first = static_cast<std::size_t>(starts[index]);
  const std::size_t last =
      index + 1 < starts.size() ? static_cast<std::size_t>(starts[index + 1]) : tokens.size();
  EncoderOutput output;
  output.hidden = program->output("last_hidden_state").subspan(first * dim, (last - first) * dim);
  if (logits != nullptr && options.logits) {
    const auto cols = static_cast<std::size_t>(logits->cols);
    const bool whole = logits->rows == graph::Rows::kSequence;
    output.logit_rows = whole ? 1 : last - first;
    output.per_token = !whole;
    output.logits =
        program->output("logits").subspan((whole ? index : first) * cols, output.logit_rows * cols);
  }
  if (pooled != nullptr) output.pooled = program->output("pooler_output").subspan(index * dim, dim);
  return output;
}

Status Encoder::Impl::run(std::span<const EncoderInput> inputs,
                          const std::function<Status(std::size_t, const EncoderOutput&)>& sink) {
  for (std::size_t i = 0; i < inputs.size(); ++i) QUERN_CHECK(check(inputs[i], i));
  const auto most = static_cast<std::size_t>(options.batch_rows);
  for (std::size_t next = 0; next < inputs.size();) {
    const std::size_t first = next;
    tokens.clear();
    positions.clear();
    types.clear();
    starts.clear();
    do {
      append(inputs[next++]);
    } while (next < inputs.size() && tokens.size() + inputs[next].ids.size() <= most);
    QUERN_CHECK(run_step());
    for (std::size_t i = first; i < next; ++i) QUERN_CHECK(sink(i, output(i - first)));
  }
  return {};
}

Status Encoder::Impl::add_layers(backends::CompileOptions compile) {
  const Model::State& state = model.state();
  compile.max_rows = std::min(compile.max_rows, kLayerRows);
  compile.max_outputs = compile.max_positions = 1;
  compile.trace_events = 0;
  for (auto [graph, stack] : {std::pair(&state.row_layers, &row_layers),
                              std::pair(&state.embedding_layers, &embedding_layers)}) {
    if (*graph == nullptr) continue;
    QUERN_TRY(made, runtime::LayerStack::create(*state.backend, *graph, compile));
    *stack = std::move(made);
  }
  return {};
}

/// Whether the layers behind the pooling can take what these poolings make.
Status Encoder::Impl::check_width(const EmbeddingOptions& wanted) const {
  const std::size_t row = row_layers ? row_layers->out() : dim;
  const std::size_t made = row * (1 + wanted.joined.size());
  if (!embedding_layers || embedding_layers->in() == made) return {};
  return Error(ErrorCode::kMismatch, "the pooling does not fit the layers behind it")
      .in_file(model.path())
      .of("pooling")
      .want(std::to_string(embedding_layers->in()) + " columns")
      .got(std::to_string(made));
}

Result<std::vector<float>> Encoder::Impl::embed(std::span<const EncoderInput> inputs,
                                                const EmbeddingOptions& wanted) {
  QUERN_CHECK(check_width(wanted));
  std::vector<float> gathered, rows, all;
  const auto gather = [&](std::size_t, const EncoderOutput& output) -> Status {
    std::span<const float> hidden = output.hidden;
    if (row_layers) {
      rows.clear();
      const std::lock_guard lock(*model.state().run_mutex);
      QUERN_CHECK(row_layers->run(hidden, rows));
      hidden = rows;
    }
    const std::size_t width = row_layers ? row_layers->out() : dim;
    runtime::append_pooled(hidden, width, wanted.pooling, gathered);
    for (const Pooling pooling : wanted.joined)
      runtime::append_pooled(hidden, width, pooling, gathered);
    return {};
  };
  QUERN_CHECK(run(inputs, gather));
  if (embedding_layers) {
    const std::lock_guard lock(*model.state().run_mutex);
    QUERN_CHECK(embedding_layers->run(gathered, all));
  } else {
    all = std::move(gathered);
  }
  const std::size_t each = inputs.empty() ? 1 : all.size() / inputs.size();
  for (std::size_t at = 0; wanted.normalize && at < all.size(); at += each)
    runtime::make_unit(std::span(all).subspan(at, each));
  return all;
}

Encoder::Encoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;
Encoder::~Encoder() = default;

Result<Encoder> Encoder::create(const Model& model, const EncoderOptions& options) {
  return base::guarded([&]() -> Result<Encoder> {
    const Model::State& state = model.state();
    if (!state.is_encoder())
      return Error(ErrorCode::kUnsupported, "the model is no encoder")
          .in_file(state.file.path())
          .want("an encoder such as BERT");
    if (options.max_tokens < 0 || options.max_tokens > state.max_seq_len)
      return out_of_range("max_tokens", 0, state.max_seq_len, options.max_tokens);
    if (options.batch_rows < 1 || options.batch_rows > runtime::kMaxBatchRows)
      return out_of_range("batch_rows", 1, runtime::kMaxBatchRows, options.batch_rows);
    if (options.trace_events < 0 || options.trace_events > runtime::kMaxTraceEvents)
      return out_of_range("trace_events", 0, runtime::kMaxTraceEvents, options.trace_events);
    if (options.kv > KvType::kQ4)
      return out_of_range("kv", 0, static_cast<std::int64_t>(KvType::kQ4),
                          static_cast<std::int64_t>(options.kv));
    auto impl = std::make_unique<Impl>(model);
    impl->options = options;
    if (options.max_tokens == 0)
      impl->options.max_tokens = std::min(state.max_seq_len, kMostTokens);
    impl->dim = static_cast<std::size_t>(find_output(*state.graph, "last_hidden_state")->cols);
    impl->logits = find_output(*state.graph, "logits");
    impl->pooled = find_output(*state.graph, "pooler_output");
    backends::CompileOptions compile;
    compile.max_rows = std::max(options.batch_rows, impl->options.max_tokens);
    compile.max_outputs = options.logits ? compile.max_rows : 0;
    compile.max_positions = impl->options.max_tokens;
    compile.encoder_kv = options.kv;
    compile.executor = state.executor;
    compile.trace_events = options.trace_events;
    compile.fast = state.options.fast;
    QUERN_TRY(program, state.backend->compile(state.graph, compile));
    impl->program = std::move(program);
    QUERN_CHECK(impl->add_layers(std::move(compile)));
    return Encoder(std::move(impl));
  });
}

const Model& Encoder::model() const noexcept { return impl_->model; }
std::int64_t Encoder::dim() const noexcept { return static_cast<std::int64_t>(impl_->dim); }
std::int64_t Encoder::max_tokens() const noexcept { return impl_->options.max_tokens; }

Result<StepTrace> Encoder::trace() const {
  return base::guarded([&]() -> Result<StepTrace> { return impl_->program->trace(); });
}

Status Encoder::run(std::span<const EncoderInput> inputs,
                    const std::function<Status(std::size_t, const EncoderOutput&)>& sink) {
  return base::guarded([&]() -> Status { return impl_->run(inputs, sink); });
}

Result<std::vector<float>> Encoder::embed(std::span<const EncoderInput> inputs,
                                          const EmbeddingOptions& options) {
  return base::guarded([&] { return impl_->embed(inputs, options); });
}

}  // namespace quern
