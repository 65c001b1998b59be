#include "backends/cuda/distance_table.h"

#include "backends/relative_positions.h"
#include "kernels/dispatch.h"

namespace quern::backends::cuda {

Result<DistanceTable> make_distance_table(Lowering& lowering, const char* op,
                                          const graph::RelativeBias& bias, std::int64_t back,
                                          std::int64_t ahead) {
  if (bias.table == graph::kNone) return DistanceTable();
  // Looked up on the processor, once: the weight itself is not needed on the device.
  const graph::Weight& weight = lowering.graph().weights[static_cast<std::size_t>(bias.table)];
  QUERN_TRY(kernels, kernels::default_kernels());
  const auto slot = static_cast<std::size_t>(weight.view.encoding);
  if (slot >= kernels::kEncodingSlots || kernels->gather_row[slot] == nullptr) {
    return Error(ErrorCode::kUnsupported, "the cuda backend cannot look up rows of an encoding")
        .of(weight.name + ", op " + op)
        .got(std::to_string(slot));
  }
  const DistanceBias values(bias, weight.view, *kernels, back, ahead);
  return DistanceTable{lowering.table(values.values()), values.back(), values.stride()};
}

}  // namespace quern::backends::cuda
