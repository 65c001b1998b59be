#include "backends/kv_choice.h"

namespace quern::backends {

KvType choose_kv(KvType kv, const graph::Graph& graph) noexcept {
  if (kv != KvType::kAuto) return kv;
  for (const graph::Weight& weight : graph.weights) {
    const EncodingInfo* info = find_encoding(weight.view.encoding);
    if (info != nullptr && info->rows != RowFormat::kF32) return KvType::kF16;
  }
  return KvType::kF32;
}

}  // namespace quern::backends
