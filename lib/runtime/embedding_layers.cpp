#include "runtime/embedding_layers.h"

#include <algorithm>

namespace quern::runtime {

Result<LayerStack> LayerStack::create(const backends::Backend& backend,
                                      std::shared_ptr<const graph::Graph> graph,
                                      const backends::CompileOptions& options) {
  LayerStack stack;
  const graph::ValueId out = graph->outputs.front().value, in = graph->nodes.front().out;
  stack.in_ = static_cast<std::size_t>(graph->values[static_cast<std::size_t>(in)].cols);
  stack.out_ = static_cast<std::size_t>(graph->values[static_cast<std::size_t>(out)].cols);
  stack.most_ = static_cast<std::size_t>(options.max_rows);
  stack.tokens_.assign(stack.most_, 0);
  stack.positions_.assign(stack.most_, 0);
  QUERN_TRY(program, backend.compile(std::move(graph), options));
  stack.program_ = std::move(program);
  return stack;
}

Status LayerStack::run(std::span<const float> rows, std::vector<float>& out) {
  while (!rows.empty()) {
    const std::size_t n = std::min(most_, rows.size() / in_);
    const std::span<const float> part = rows.first(n * in_);
    backends::StepBinding step;
    step.tokens = std::span(tokens_).first(n);
    step.positions = std::span(positions_).first(n);
    step.inputs = {&part, 1};
    QUERN_CHECK(program_->run(step));
    const std::span<const float> made = program_->output("embedding").first(n * out_);
    out.insert(out.end(), made.begin(), made.end());
    rows = rows.subspan(n * in_);
  }
  return {};
}

}  // namespace quern::runtime
