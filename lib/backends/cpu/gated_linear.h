/// \file
/// Two products of the same rows whose results a gated unit joins, as one step: what it joins is
/// still in the second-level cache, and one of the two results is never stored whole.
#pragma once

#include "backends/cpu/lowering.h"

namespace quern::backends::cpu {

/// Whether lower_gated_linear() makes this value, the result of a product, so that no other step
/// need.
bool is_of_gated_linear(const Lowering& lowering, graph::ValueId product);

/// Adds the step of a unit and its two products. \return false, and adds nothing, where they are
/// not to be joined: something else reads a product, or looks at its rows.
bool lower_gated_linear(Lowering& lowering, const graph::GluOp& glu, graph::ValueId out);

}  // namespace quern::backends::cpu
