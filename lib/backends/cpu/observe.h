/// \file
/// Steps that show rows to a LinearObserver.
#pragma once

#include "backends/cpu/lowering.h"

namespace quern::backends::cpu {

/// Whether whoever compiles asked to see what enters the products with `weight`.
inline bool is_observed(const Lowering& lowering, const graph::Weight& weight) {
  LinearObserver* observer = lowering.options().observer;
  return observer != nullptr && observer->wants(weight.name);
}

/// Adds a step that shows the rows of `x`, which enter the product with `weight` next.
void observe_rows(Lowering& lowering, const graph::Weight& weight, graph::ValueId x);

}  // namespace quern::backends::cpu
