/// \file
/// Linear layers of float weights through oneDNN: `fast` mode, outside the numerics law.
#pragma once

#include "backends/cpu/lowering.h"

namespace quern::backends::cpu {

/// Steps of at least this many rows are worth oneDNN's while; smaller ones are bound by memory.
inline constexpr std::int64_t kFastRows = 32;

/// Lowers a linear op whose weight is f32, f16 or bf16: the weight is repacked for oneDNN (bf16
/// where the processor has AMX, else f32), steps of fewer than kFastRows rows run `exact`, which is
/// taken over. kMissing where oneDNN is not installed, kUnsupported where it has no such
/// primitive, kOutOfMemory.
Result<std::unique_ptr<Step>> make_fast_linear(Lowering& lowering, const graph::LinearOp& op,
                                               BufferId x, BufferId out, BufferId residual,
                                               std::unique_ptr<Step> exact,
                                               std::int64_t& scratch_bytes);

/// Whether `fast` mode changes how an encoding is computed with.
bool has_fast_linear(Encoding encoding) noexcept;

}  // namespace quern::backends::cpu
