#include "convert/window_reader.h"

#include <mutex>
#include <numeric>
#include <vector>

#include "runtime/model_state.h"

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

  WindowBinding(std::size_t length, backends::SequenceState* sequence)
      : positions(length), output_rows(length) {
    std::iota(positions.begin(), positions.end(), std::int64_t{0});
    std::iota(output_rows.begin(), output_rows.end(), 0);
    if (sequence == nullptr)
      starts.push_back(0);
    else
      sequences.assign(length, sequence);
  }
};

}  // namespace

Status read_windows_with(const Model& model, const TokenWindows& windows, std::size_t last_node,
                         backends::LinearObserver& observer,
                         const std::shared_ptr<Executor>& executor, ProgressMeter& meter) {
  const Model::State& state = model.state();
  const auto length = static_cast<std::int64_t>(windows.front().size());
  backends::CompileOptions options;
  options.max_rows = length;
  options.max_outputs = length;
  options.max_positions = length;
  options.executor = executor;
  options.observer = &observer;
  QUERN_TRY(program, state.backend->compile(cut_graph(*state.graph, last_node), options));
  std::unique_ptr<backends::SequenceState> sequence;
  if (!state.is_encoder()) {
    QUERN_TRY(made, program->new_sequence({length}));
    sequence = std::move(made);
  }
  const WindowBinding binding(windows.front().size(), sequence.get());
  for (const std::vector<TokenId>& window : windows) {
    if (sequence) QUERN_CHECK(sequence->rewind(0));
    const std::lock_guard lock(*state.run_mutex);
    QUERN_CHECK(program->run({.tokens = window,
                              .positions = binding.positions,
                              .sequences = binding.sequences,
                              .output_rows = binding.output_rows,
                              .starts = binding.starts}));
    QUERN_CHECK(meter.advance(0));
  }
  return {};
}

}  // namespace quern::convert
