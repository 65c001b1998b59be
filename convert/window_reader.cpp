#include "convert/window_reader.h"

#include <mutex>
#include <numeric>
#include <span>
#include <vector>

#include "quern/evaluation.h"
#include "runtime/model_state.h"
#include "runtime/source_reader.h"

namespace quern::convert {
namespace {

/// The graph up to a node, without results.
std::shared_ptr<const graph::Graph> cut_graph(const graph::Graph& graph, std::size_t last_node) {
  auto part = std::make_shared<graph::Graph>(graph);
  part->nodes.erase(part->nodes.begin() + static_cast<std::ptrdiff_t>(last_node + 1),
                    part->nodes.end());
  part->outputs.clear();
  return part;
}

/// What a step over one window needs.
struct WindowBinding {
  std::vector<std::int64_t> positions;
  std::vector<std::int32_t> output_rows;
  std::vector<backends::SequenceState*> sequences;
  std::vector<std::int32_t> starts;

  /// \param sequence nullptr where there is none.
  /// \param whole whether the graph wants a sequence as a whole and has no cache of its own.
  WindowBinding(std::size_t length, backends::SequenceState* sequence, bool whole)
      : positions(length), output_rows(length) {
    std::iota(positions.begin(), positions.end(), std::int64_t{0});
    std::iota(output_rows.begin(), output_rows.end(), 0);
    if (whole) starts.push_back(0);
    if (sequence != nullptr) sequences.assign(length, sequence);
  }

  backends::StepBinding of(std::span<const TokenId> tokens) const {
    return {.tokens = tokens,
            .positions = positions,
            .sequences = sequences,
            .output_rows = output_rows,
            .starts = starts};
  }
};

backends::CompileOptions options_for(std::size_t rows, backends::LinearObserver* observer,
                                     const std::shared_ptr<Executor>& executor) {
  backends::CompileOptions options;
  options.max_rows = options.max_outputs = options.max_positions = static_cast<std::int64_t>(rows);
  options.executor = executor;
  options.observer = observer;
  return options;
}

/// An encoder–decoder: the first half of a window is its source, the second its answer, as where
/// texts are scored (runtime/window_feed.h).
Status read_pairs_with(const Model& model, const TokenWindows& windows, std::size_t last_node,
                       backends::LinearObserver& observer,
                       const std::shared_ptr<Executor>& executor, ProgressMeter& meter) {
  const Model::State& state = model.state();
  QUERN_TRY(start, runtime::require_decoder_start(model));
  const std::size_t n_source_nodes = state.source_graph->nodes.size();
  const bool answers = last_node >= n_source_nodes;
  const std::size_t length = windows.front().size(), first = first_scored(length);
  const std::size_t rows = start.size() + length - first - 1;  // The last token is predicted only.

  backends::CompileOptions options = options_for(rows, &observer, executor);
  options.max_source = static_cast<std::int64_t>(first);
  const std::size_t last = answers ? last_node - n_source_nodes : state.graph->nodes.size() - 1;
  QUERN_TRY(decoder, state.backend->compile(cut_graph(*state.graph, last), options));
  options = options_for(first, &observer, executor);
  options.max_source = static_cast<std::int64_t>(first);
  options.kv = decoder->kv();
  const std::size_t last_source = answers ? n_source_nodes - 1 : last_node;
  QUERN_TRY(encoder, state.backend->compile(cut_graph(*state.source_graph, last_source), options));
  QUERN_TRY(sequence, decoder->new_sequence(
                          {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(first)}));

  const WindowBinding source(first, sequence.get(), true);
  const WindowBinding answer(rows, sequence.get(), false);
  for (const std::vector<TokenId>& window : windows) {
    QUERN_CHECK(sequence->rewind(0));
    std::vector<TokenId> ids(start.begin(), start.end());
    ids.insert(ids.end(), window.begin() + static_cast<std::ptrdiff_t>(first), window.end() - 1);
    const std::lock_guard lock(*state.run_mutex);
    QUERN_CHECK(encoder->run(source.of(std::span(window).first(first))));
    sequence->set_source_rows(static_cast<std::int64_t>(first));
    if (answers) QUERN_CHECK(decoder->run(answer.of(ids)));
    QUERN_CHECK(meter.advance(0));
  }
  return {};
}

}  // namespace

std::vector<SharedInput> find_inputs(const Model& model) {
  const Model::State& state = model.state();
  if (state.source_graph == nullptr) return find_inputs(*state.graph);
  std::vector<SharedInput> inputs = find_inputs(*state.source_graph);
  for (SharedInput& input : find_inputs(*state.graph)) {
    input.last_node += state.source_graph->nodes.size();
    inputs.push_back(std::move(input));
  }
  return inputs;
}

Status read_windows_with(const Model& model, const TokenWindows& windows, std::size_t last_node,
                         backends::LinearObserver& observer,
                         const std::shared_ptr<Executor>& executor, ProgressMeter& meter) {
  if (model.is_encoder_decoder())
    return read_pairs_with(model, windows, last_node, observer, executor, meter);
  const Model::State& state = model.state();
  const std::size_t length = windows.front().size();
  QUERN_TRY(program, state.backend->compile(cut_graph(*state.graph, last_node),
                                            options_for(length, &observer, executor)));
  std::unique_ptr<backends::SequenceState> sequence;
  if (!state.is_encoder()) {
    QUERN_TRY(made, program->new_sequence({static_cast<std::int64_t>(length)}));
    sequence = std::move(made);
  }
  const WindowBinding binding(length, sequence.get(), state.is_encoder());
  for (const std::vector<TokenId>& window : windows) {
    if (sequence) QUERN_CHECK(sequence->rewind(0));
    const std::lock_guard lock(*state.run_mutex);
    QUERN_CHECK(program->run(binding.of(window)));
    QUERN_CHECK(meter.advance(0));
  }
  return {};
}

}  // namespace quern::convert
