#include "backends/split_backend.h"

#include <algorithm>

#include "backends/kv_choice.h"
#include "graph/split.h"

namespace quern::backends {
namespace {

/// The states of one sequence for both parts.
class SplitState final : public SequenceState {
 public:
  SplitState(std::unique_ptr<SequenceState> lower_part, std::unique_ptr<SequenceState> upper_part)
      : lower(std::move(lower_part)), upper(std::move(upper_part)) {}

  std::int64_t capacity() const noexcept override {
    return std::min(lower->capacity(), upper->capacity());
  }
  void set_source_rows(std::int64_t rows) noexcept override {
    lower->set_source_rows(rows);
    upper->set_source_rows(rows);
  }
  std::uint64_t bytes() const noexcept override { return lower->bytes() + upper->bytes(); }
  bool rewinds() const noexcept override { return lower->rewinds() && upper->rewinds(); }
  Status rewind(std::int64_t position) override {
    if (position > 0 && lower->rewinds() != upper->rewinds())  // Neither, or none is left behind.
      return lower->rewinds() ? upper->rewind(position) : lower->rewind(position);
    QUERN_CHECK(lower->rewind(position));
    return upper->rewind(position);
  }
  Status copy_from(const SequenceState& other, std::int64_t position) override {
    const auto& theirs = static_cast<const SplitState&>(other);
    QUERN_CHECK(lower->copy_from(*theirs.lower, position));
    return upper->copy_from(*theirs.upper, position);
  }

  std::unique_ptr<SequenceState> lower, upper;
};

class SplitProgram final : public Program {
 public:
  SplitProgram(std::unique_ptr<Program> lower, std::unique_ptr<Program> upper, std::size_t n_inputs,
               std::size_t max_rows)
      : lower_(std::move(lower)), upper_(std::move(upper)), inputs_(n_inputs) {
    lower_states_.resize(max_rows);
    upper_states_.resize(max_rows);
    for (std::size_t i = 0; i < n_inputs; ++i) names_.push_back("input" + std::to_string(i));
  }

  Status run(const StepBinding& step) override {
    const std::size_t n = step.sequences.size();
    for (std::size_t row = 0; row < n; ++row) {
      const auto& state = *static_cast<const SplitState*>(step.sequences[row]);
      lower_states_[row] = state.lower.get();
      upper_states_[row] = state.upper.get();
    }
    StepBinding part = step;
    part.sequences = std::span(lower_states_).first(n);
    part.best = 0;
    QUERN_CHECK(lower_->run(part));
    for (std::size_t i = 0; i < inputs_.size(); ++i) inputs_[i] = lower_->output(names_[i]);
    part.sequences = std::span(upper_states_).first(n);
    part.inputs = inputs_;
    part.best = step.best;
    return upper_->run(part);
  }
  std::span<const float> output(std::string_view name) const override {
    const std::span<const float> found = upper_->output(name);
    return found.empty() ? lower_->output(name) : found;
  }
  std::span<const base::RankedLogit> best(std::int64_t row) const override {
    return upper_->best(row);
  }
  std::uint64_t scratch_bytes() const noexcept override {
    return lower_->scratch_bytes() + upper_->scratch_bytes();
  }
  KvType kv() const noexcept override { return upper_->kv(); }
  StepTrace trace() const override { return {}; }
  Result<std::unique_ptr<SequenceState>> new_sequence(const SequenceSize& size) const override {
    QUERN_TRY(lower, lower_->new_sequence(size));
    QUERN_TRY(upper, upper_->new_sequence(size));
    return std::unique_ptr<SequenceState>(
        std::make_unique<SplitState>(std::move(lower), std::move(upper)));
  }

 private:
  std::unique_ptr<Program> lower_, upper_;
  std::vector<std::string> names_;
  std::vector<std::span<const float>> inputs_;
  std::vector<SequenceState*> lower_states_, upper_states_;
};

/// Whether the model's graph goes to the device as a whole.
bool is_whole(const graph::Graph& graph, int device_layers) {
  return device_layers >= graph::count_layers(graph);
}

Result<graph::SplitGraph> cut(const graph::Graph& graph, int device_layers) {
  for (const graph::KvState& state : graph.states) {
    if (state.source)
      return Error(ErrorCode::kUnsupported, "an encoder–decoder cannot be cut between layers")
          .of("gpu_layers")
          .got(std::to_string(device_layers));
  }
  return graph::split_graph(graph, graph::count_layers(graph) - device_layers);
}

}  // namespace

Result<std::unique_ptr<Program>> SplitBackend::compile(std::shared_ptr<const graph::Graph> graph,
                                                       const CompileOptions& options) const {
  if (is_whole(*graph, device_layers_)) return device_.compile(std::move(graph), options);
  if (options.trace_events != 0)
    return Error(ErrorCode::kUnsupported, "layers on two devices have no common trace").of("trace");
  QUERN_TRY(parts, cut(*graph, device_layers_));
  CompileOptions part = options;
  part.kv = choose_kv(options.kv, *graph);
  QUERN_TRY(lower,
            host_.compile(std::make_shared<const graph::Graph>(std::move(parts.lower)), part));
  QUERN_TRY(upper,
            device_.compile(std::make_shared<const graph::Graph>(std::move(parts.upper)), part));
  return std::unique_ptr<Program>(
      std::make_unique<SplitProgram>(std::move(lower), std::move(upper), parts.n_inputs,
                                     static_cast<std::size_t>(options.max_rows)));
}

Result<ProgramPlan> SplitBackend::plan(const graph::Graph& graph, const CompileOptions& options,
                                       const SequenceSize& size) const {
  if (is_whole(graph, device_layers_)) return device_.plan(graph, options, size);
  QUERN_TRY(parts, cut(graph, device_layers_));
  CompileOptions part = options;
  part.kv = choose_kv(options.kv, graph);
  QUERN_TRY(lower, host_.plan(parts.lower, part, size));
  QUERN_TRY(upper, device_.plan(parts.upper, part, size));
  upper.scratch_bytes += lower.scratch_bytes;
  upper.sequence_bytes += lower.sequence_bytes;
  return upper;
}

}  // namespace quern::backends
