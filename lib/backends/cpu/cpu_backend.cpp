#include "backends/cpu/cpu_backend.h"

#include "backends/cpu/lowering.h"
#include "backends/cpu/program.h"
#include "backends/kv_choice.h"
#include "backends/sequence_layout.h"
#include "kernels/dispatch.h"

namespace quern::backends::cpu {
namespace {

Status check(const CompileOptions& options) {
  if (options.executor == nullptr || options.max_rows < 1 || options.max_outputs < 0 ||
      options.max_outputs > options.max_rows || options.max_positions < 1 ||
      options.max_source < 0 || options.trace_events < 0) {
    return Error(ErrorCode::kInvalidArgument, "the sizes to compile for do not fit together")
        .of("CompileOptions");
  }
#if !defined(QUERN_WITH_ONEDNN)
  if (options.fast) {
    return Error(ErrorCode::kUnsupported, "this build has no fast mode: it was made without oneDNN")
        .of("fast");
  }
#endif
  return {};
}

}  // namespace

std::string_view CpuBackend::isa() const noexcept {
  const auto table = kernels::default_kernels();
  return table.ok() ? (*table)->isa : "";
}

Result<std::unique_ptr<Program>> CpuBackend::compile(std::shared_ptr<const graph::Graph> graph,
                                                     const CompileOptions& options) const {
  QUERN_CHECK(check(options));
  QUERN_TRY(table, kernels::default_kernels());
  const KvType kv = choose_kv(options.kv, *graph);
  QUERN_TRY(lowered, Lowering::lower(*graph, options, kv, *table));
  return CpuProgram::create(std::move(graph), options, kv, *table, std::move(lowered));
}

Result<ProgramPlan> CpuBackend::plan(const graph::Graph& graph, const CompileOptions& options,
                                     const SequenceSize& size) const {
  QUERN_CHECK(check(options));
  QUERN_TRY(table, kernels::default_kernels());
  const KvType kv = choose_kv(options.kv, graph);
  QUERN_TRY(lowered, Lowering::lower(graph, options, kv, *table));
  const SequenceLayout layout(graph, kv, size);
  return ProgramPlan{CpuProgram::memory_bytes(lowered, options.executor->threads()),
                     layout.bytes() + layout.source_bytes()};
}

}  // namespace quern::backends::cpu
