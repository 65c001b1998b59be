#include <array>

#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// In the order of graph::Op.
constexpr std::array<LowerFn, std::variant_size_v<graph::Op>> kLowerings = {
    lower_embedding,
    lower_linear,
    lower_rms_norm,
    lower_layer_norm,
    lower_rope_angles,
    lower_rope,
    lower_attention,
    lower_glu,
    lower_activation,
    lower_add,
    lower_scale,
    lower_softcap,
    lower_select_rows,
    lower_position_embedding,
    lower_type_embedding,
    lower_constant_rows,
    lower_encoder_attention,
    lower_pool,
    lower_slice,
};

}  // namespace

LowerFn find_lowering(std::size_t op_index) noexcept {
  return op_index < kLowerings.size() ? kLowerings[op_index] : nullptr;
}

}  // namespace quern::backends::cpu
