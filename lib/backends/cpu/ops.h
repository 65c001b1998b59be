/// \file
/// The lowerings of all ops, an overload for each alternative of graph::Op; each family has a file.
/// A lowering adds the steps of one node, or is kUnsupported where the CPU cannot run it with these
/// encodings.
#pragma once

#include "backends/cpu/lowering.h"

namespace quern::backends::cpu {

Status lower_op(Lowering& lowering, const graph::EmbeddingOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::PositionEmbeddingOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::SinusoidOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::TypeEmbeddingOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ConstantRowsOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::LinearOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::RmsNormOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::LayerNormOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::RopeAnglesOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::RopeOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::PositionColumnOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::JoinHeadsOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::AttentionOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::StoreSourceOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::CrossAttentionOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::EncoderAttentionOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::PoolOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::GluOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::RouteOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ExpertsOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ScaleRowsOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ActivationOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::AddOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::MulOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ScaleColumnsOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ColumnsOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::MixOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::MatchMagnitudeOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::CutoffOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::CausalConvOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ScanOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ScaleOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::ClampOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::SoftcapOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::SelectRowsOp& op, graph::ValueId out);
Status lower_op(Lowering& lowering, const graph::InputOp& op, graph::ValueId out);

}  // namespace quern::backends::cpu
