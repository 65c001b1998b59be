/// \file
/// Where the blocks of a KV head lie: the one place of this arithmetic, for the processor's kernels
/// and a device's.
#pragma once

#include <cstdint>

#include "kernels/kernel_table.h"

namespace quern::kernels {
namespace {  // Every object has its own: those of an instruction set share no code with others.

/// Bytes from the first block of a head's keys, or values, to block b (KvHead).
template <class Index>
constexpr std::int64_t bytes_before_block(Index b, std::int64_t block_bytes,
                                          std::int64_t span_bytes) {
  constexpr Index kBlocks = static_cast<Index>(kSpanBlocks);
  return b / kBlocks * span_bytes + b % kBlocks * block_bytes;
}

}  // namespace
}  // namespace quern::kernels
