#include "backends/cuda/cuda_backend.h"

#include "backends/cuda/program.h"
#include "backends/kv_choice.h"
#include "backends/sequence_layout.h"

namespace quern::backends::cuda {
namespace {

/// The device that all programs use.
constexpr int kOrdinal = 0;

Status check(const CompileOptions& options) {
  if (options.max_rows < 1 || options.max_outputs < 0 || options.max_outputs > options.max_rows ||
      options.max_positions < 1 || options.max_source < 0 || options.trace_events < 0) {
    return Error(ErrorCode::kInvalidArgument, "the sizes to compile for do not fit together")
        .of("CompileOptions");
  }
  if (options.fast)
    return Error(ErrorCode::kUnsupported, "the cuda backend has no fast mode").of("fast");
  if (options.observer != nullptr)
    return Error(ErrorCode::kUnsupported, "the cuda backend shows nobody what enters products")
        .of("observer");
  return {};
}

}  // namespace

std::string_view CudaBackend::isa() const noexcept {
  const auto device = Device::open(kOrdinal);
  if (!device.ok()) return "";
  static const std::string kName = "sm_" + std::to_string((*device)->compute_capability());
  return kName;
}

Status CudaBackend::available() const {
  QUERN_CHECK(Device::open(kOrdinal));
  return {};
}

Result<std::unique_ptr<Program>> CudaBackend::compile(std::shared_ptr<const graph::Graph> graph,
                                                      const CompileOptions& options) const {
  QUERN_CHECK(check(options));
  QUERN_TRY(device, Device::open(kOrdinal));
  const KvType kv = choose_kv(options.kv, *graph);
  QUERN_TRY(lowered, Lowering::lower(*graph, options, kv));
  return CudaProgram::create(std::move(device), std::move(graph), options, kv, std::move(lowered));
}

Result<ProgramPlan> CudaBackend::plan(const graph::Graph& graph, const CompileOptions& options,
                                      const SequenceSize& size) const {
  QUERN_CHECK(check(options));
  const KvType kv = choose_kv(options.kv, graph);
  QUERN_TRY(lowered, Lowering::lower(graph, options, kv));
  const SequenceLayout layout(graph, kv, size);
  ProgramPlan plan{CudaProgram::memory_bytes(lowered, options),
                   layout.bytes() + layout.source_bytes()};
  plan.device = {plan.scratch_bytes, plan.sequence_bytes, used_weights(graph, lowered.uses_weight)};
  return plan;
}

}  // namespace quern::backends::cuda
