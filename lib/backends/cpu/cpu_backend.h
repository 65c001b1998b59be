/// \file
/// The processor as a backend.
#pragma once

#include "backends/backend.h"

namespace quern::backends::cpu {

/// Stateless; the kernel table is the process's (kernels/dispatch.h). Thread rule: any thread.
class CpuBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "cpu"; }
  std::string_view isa() const noexcept override;
  Result<std::unique_ptr<Program>> compile(std::shared_ptr<const graph::Graph> graph,
                                           const CompileOptions& options) const override;
  Result<ProgramPlan> plan(const graph::Graph& graph, const CompileOptions& options,
                           const SequenceSize& size) const override;
};

}  // namespace quern::backends::cpu
