#include <array>

#include "backends/cpu/ops.h"

namespace quern::backends::cpu {
namespace {

/// In the order of graph::Op.
constexpr std::array<LowerFn, std::variant_size_v<graph::Op>> kLowerings = {
    lower_embedding,
    lower_position_embedding,
    lower_sinusoid,
    lower_type_embedding,
    lower_constant_rows,
    lower_linear,
    lower_rms_norm,
    lower_layer_norm,
    lower_rope_angles,
    lower_rope,
    lower_position_column,
    lower_join_heads,
    lower_attention,
    lower_store_source,
    lower_cross_attention,
    lower_encoder_attention,
    lower_pool,
    lower_glu,
    lower_route,
    lower_experts,
    lower_scale_rows,
    lower_activation,
    lower_add,
    lower_mul,
    lower_scale_columns,
    lower_columns,
    lower_mix,
    lower_match_magnitude,
    lower_cutoff,
    lower_causal_conv,
    lower_scan,
    lower_scale,
    lower_clamp,
    lower_softcap,
    lower_select_rows,
    lower_input,
};

}  // namespace

LowerFn find_lowering(std::size_t op_index) noexcept {
  return op_index < kLowerings.size() ? kLowerings[op_index] : nullptr;
}

}  // namespace quern::backends::cpu
