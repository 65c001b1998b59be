/// \file
/// A model's last layers on a device, what lies below them on the processor.
#pragma once

#include "backends/backend.h"

namespace quern::backends {

/// Compiles a graph as two, of which the second gets what it reads of the first with every step.
/// Results have the bits of either backend alone. Thread rule: any thread.
class SplitBackend final : public Backend {
 public:
  /// \param device_layers layers that `device` has, at least 1; all where the model has no more.
  SplitBackend(const Backend& host, const Backend& device, int device_layers)
      : host_(host), device_(device), device_layers_(device_layers) {}

  std::string_view name() const noexcept override { return device_.name(); }
  std::string_view isa() const noexcept override { return device_.isa(); }
  Status available() const override { return device_.available(); }
  /// Also kUnsupported where the graph cannot be cut there (graph/split.h), for the two graphs of
  /// an encoder–decoder, and for a trace.
  Result<std::unique_ptr<Program>> compile(std::shared_ptr<const graph::Graph> graph,
                                           const CompileOptions& options) const override;
  /// Both parts together.
  Result<ProgramPlan> plan(const graph::Graph& graph, const CompileOptions& options,
                           const SequenceSize& size) const override;

 private:
  const Backend& host_;
  const Backend& device_;
  int device_layers_;
};

}  // namespace quern::backends
