// The table of encodings: one row each, in the order of ids.

#include "quant/registry.h"

#include <algorithm>
#include <iterator>

#include "quant/float_codec.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q8_0.h"

namespace quern::quant {
namespace {

constexpr EncodingOps kTable[] = {
    float_ops<F32>(),  float_ops<F16>(),  float_ops<BF16>(),
    block_ops<Q4_0>(), block_ops<Q4_1>(), block_ops<Q8_0>(),
};

}  // namespace

const EncodingOps* find_ops(Encoding id) noexcept {
  const auto* row = std::find_if(std::begin(kTable), std::end(kTable),
                                 [id](const EncodingOps& ops) { return ops.id == id; });
  return row == std::end(kTable) ? nullptr : row;
}

std::span<const EncodingOps> all_ops() noexcept { return kTable; }

}  // namespace quern::quant
