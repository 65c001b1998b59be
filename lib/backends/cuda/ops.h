/// \file
/// The lowerings of all ops, one per alternative of graph::Op; each family has a file.
#pragma once

#include "backends/cuda/lowering.h"

namespace quern::backends::cuda {

Status lower_embedding(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_position_embedding(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_linear(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_rms_norm(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_layer_norm(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_rope_angles(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_rope(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_position_column(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_join_heads(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_attention(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_glu(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_route(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_experts(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_scale_rows(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_activation(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_add(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_mul(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_scale_columns(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_columns(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_mix(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_match_magnitude(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_cutoff(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_causal_conv(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_scan(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_scale(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_clamp(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_softcap(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_select_rows(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_input(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_type_embedding(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_constant_rows(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_sinusoid(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_store_source(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_cross_attention(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_encoder_attention(Lowering& lowering, const graph::Op& op, graph::ValueId out);
Status lower_pool(Lowering& lowering, const graph::Op& op, graph::ValueId out);

}  // namespace quern::backends::cuda
