/// \file
/// The kind of KV cache that fits a model's weights.
#pragma once

#include "graph/graph.h"
#include "quern/kv_type.h"

namespace quern::backends {

/// `kv` where it says a kind. For kAuto: float weights keep a float32 cache, so that logits can be
/// compared to a reference; quantized ones f16.
KvType choose_kv(KvType kv, const graph::Graph& graph) noexcept;

}  // namespace quern::backends
