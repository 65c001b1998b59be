/// \file
/// What scans do besides scanning.
#pragma once

#include "backends/cpu/lowering.h"

namespace quern::backends::cpu {

/// Whether the scan that reads this value, the result of a product, makes it, so that no other step
/// need.
bool is_of_scan(const Lowering& lowering, graph::ValueId product);

}  // namespace quern::backends::cpu
