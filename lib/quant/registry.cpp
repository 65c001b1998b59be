// The table of encodings: one row each, in the order of ids.

#include "quant/registry.h"

#include <algorithm>
#include <iterator>

#include "quant/float_codec.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/native_codec.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace quern::quant {
namespace {

constexpr EncodingOps kTable[] = {
    float_ops<F32>(),  float_ops<F16>(),    float_ops<BF16>(),   block_ops<Q4_0>(),
    block_ops<Q4_1>(), block_ops<Q5_0>(),   block_ops<Q5_1>(),   block_ops<Q8_0>(),
    block_ops<Q2_K>(), block_ops<Q3_K>(),   block_ops<Q4_K>(),   block_ops<Q5_K>(),
    block_ops<Q6_K>(), block_ops<IQ4_NL>(), block_ops<IQ4_XS>(), block_ops<MXFP4>(),
    native_ops<Encoding::kQR8>(), native_ops<Encoding::kQR4>(),
    native_ops<Encoding::kQR3>(), native_ops<Encoding::kQR5>(), native_ops<Encoding::kQR6>(),
};

}  // namespace

const EncodingOps* find_ops(Encoding id) noexcept {
  const auto* row = std::find_if(std::begin(kTable), std::end(kTable),
                                 [id](const EncodingOps& ops) { return ops.id == id; });
  return row == std::end(kTable) ? nullptr : row;
}

std::span<const EncodingOps> all_ops() noexcept { return kTable; }

}  // namespace quern::quant
