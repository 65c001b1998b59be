#include "convert/layer_replay.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <string>
#include <variant>

#include "backends/kv_choice.h"
#include "graph/split.h"
#include "quern/evaluation.h"
#include "runtime/model_state.h"
#include "runtime/session_options.h"

namespace quern::convert {
namespace {

constexpr std::size_t kRows = 256;
/// Rows whose logits exist at once.
constexpr std::size_t kScoredRows = 64;

/// Whether rows are looked up in a matrix.
bool looks_up(const graph::Op& op, const auto& is_matrix) {
  return std::visit(
      [&](const auto& known) {
        if constexpr (requires { known.table; })
          return is_matrix(known.table);
        else
          return false;
      },
      op);
}

bool multiplies(const graph::Op& op, const auto& is_matrix) {
  if (const auto* linear = std::get_if<graph::LinearOp>(&op)) return is_matrix(linear->weight);
  const auto* experts = std::get_if<graph::ExpertsOp>(&op);
  return experts != nullptr &&
         (is_matrix(experts->gate) || is_matrix(experts->up) || is_matrix(experts->down));
}

}  // namespace

std::int32_t first_layer_of(const graph::Graph& graph, std::string_view matrix) {
  const auto is_matrix = [&](graph::WeightId id) {
    return id != graph::kNone && graph.weights[static_cast<std::size_t>(id)].name == matrix;
  };
  for (const graph::Node& node : graph.nodes) {
    if (looks_up(node.op, is_matrix)) return 0;
  }
  std::int32_t layer = 0;
  for (const graph::Node& node : graph.nodes) {
    layer = std::max(layer, node.layer);
    if (multiplies(node.op, is_matrix)) return layer;
  }
  return 0;
}

std::vector<LayerReplay::Step> LayerReplay::steps_of(std::span<const TokenId> window) {
  // What is scored begins one token before the first scored one; the last token is only predicted.
  const std::size_t before = first_scored(window.size()) - 1, end = window.size() - 1;
  std::vector<Step> steps;
  for (std::size_t i = 0; i < end; i += steps.back().tokens.size()) {
    const bool scored = i >= before;
    const std::size_t stop = scored ? end : before;
    const auto some = window.subspan(i, std::min(scored ? kScoredRows : kRows, stop - i));
    Step step;
    step.tokens.assign(some.begin(), some.end());
    step.first = static_cast<std::int64_t>(i);
    step.length = static_cast<std::int64_t>(stop);
    step.scored = scored;
    steps.push_back(std::move(step));
  }
  return steps;
}

Status LayerReplay::run(Program& program, State& state, const Step& step,
                        std::span<const std::span<const float>> inputs) const {
  const std::size_t rows = step.tokens.size();
  std::vector<std::int64_t> positions(rows);
  std::iota(positions.begin(), positions.end(), step.first);
  const std::vector<State*> sequences(rows, &state);
  const std::vector<std::int64_t> lengths(rows, step.length);
  std::vector<std::int32_t> outputs(step.scored ? rows : 0);
  std::iota(outputs.begin(), outputs.end(), 0);
  backends::StepBinding binding;
  binding.tokens = step.tokens;
  binding.positions = positions;
  binding.sequences = sequences;
  binding.output_rows = outputs;
  binding.lengths = lengths;
  binding.inputs = inputs;
  const std::lock_guard lock(*model_.state().run_mutex);
  return program.run(binding);
}

Result<LayerReplay> LayerReplay::create(const Model& model, const TokenWindows& windows,
                                        std::int32_t layer, KvType kv) {
  LayerReplay made(model);
  const Model::State& state = model.state();
  SessionOptions wanted;
  for (const auto& window : windows) {
    wanted.context = std::max(wanted.context, static_cast<std::int64_t>(window.size()));
    made.windows_.push_back(steps_of(window));
  }
  wanted.batch_rows = kRows;
  wanted.output_rows = kScoredRows;
  wanted.kv = kv;
  QUERN_TRY(options, runtime::resolve_session_options(state, wanted));
  backends::CompileOptions compile = runtime::compile_options(state, options);
  compile.kv = backends::choose_kv(compile.kv, *state.graph);
  QUERN_TRY(parts, graph::split_graph(*state.graph, layer));
  const auto compile_part = [&](graph::Graph part) {
    return state.backend->compile(std::make_shared<const graph::Graph>(std::move(part)), compile);
  };
  QUERN_TRY(lower, compile_part(std::move(parts.lower)));
  QUERN_TRY(upper, compile_part(std::move(parts.upper)));
  QUERN_TRY(below, lower->new_sequence(runtime::sequence_size(options)));
  for (std::vector<Step>& steps : made.windows_) {
    QUERN_CHECK(below->rewind(0));
    for (Step& step : steps) {
      QUERN_CHECK(made.run(*lower, *below, step, {}));
      for (std::size_t i = 0; i < parts.n_inputs; ++i) {
        const std::span<const float> crossing = lower->output("input" + std::to_string(i));
        step.inputs.emplace_back(crossing.begin(), crossing.end());
      }
    }
  }
  QUERN_TRY(above, upper->new_sequence(runtime::sequence_size(options)));
  made.upper_ = std::move(upper);
  made.state_ = std::move(above);
  return made;
}

Status LayerReplay::visit(const std::function<void(std::span<const float> row)>& take) {
  const auto vocab = static_cast<std::size_t>(model_.state().vocab_size);
  for (const std::vector<Step>& steps : windows_) {
    QUERN_CHECK(state_->rewind(0));
    for (const Step& step : steps) {
      const std::vector<std::span<const float>> inputs(step.inputs.begin(), step.inputs.end());
      QUERN_CHECK(run(*upper_, *state_, step, inputs));
      if (!step.scored) continue;
      for (auto rows = upper_->output("logits"); rows.size() >= vocab; rows = rows.subspan(vocab))
        take(rows.first(vocab));
    }
  }
  return {};
}

}  // namespace quern::convert
