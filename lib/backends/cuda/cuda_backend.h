/// \file
/// A CUDA device as a backend. The driver is looked for when the first program is compiled.
#pragma once

#include "backends/backend.h"

namespace quern::backends::cuda {

/// Stateless; devices are the process's (device.h). Results have the bits of the processor's
/// backend. Thread rule: any thread.
class CudaBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "cuda"; }
  /// "sm_90" and the like; empty where there is no device.
  std::string_view isa() const noexcept override;
  Status available() const override;
  /// Also kMissing without driver or device, and what else Device::open says.
  Result<std::unique_ptr<Program>> compile(std::shared_ptr<const graph::Graph> graph,
                                           const CompileOptions& options) const override;
  /// Needs no device. The sizes are those of device memory.
  Result<ProgramPlan> plan(const graph::Graph& graph, const CompileOptions& options,
                           const SequenceSize& size) const override;
};

}  // namespace quern::backends::cuda
