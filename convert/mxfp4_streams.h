/// \file
/// MXFP4 as gpt-oss is published in safetensors: a tensor X lies there as `X_blocks`, uint8
/// `[…, rows, cols/32, 16]`, two neighbouring codes a byte, the lower nibble first, and `X_scales`,
/// uint8 `[…, rows, cols/32]`, the exponents. GGUF's blocks hold the same codes and exponents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "convert/source_model.h"
#include "quern/result.h"

namespace quern::convert {

/// Replaces each such pair of uint8 tensors by one tensor X of MXFP4, `[…, rows, cols]`.
/// Errors: kMissing (blocks without scales), kMismatch (shapes that do not fit), naming the tensor.
Status join_mxfp4_streams(const std::string& path, std::vector<SourceTensor>& tensors);

/// Writes one row as GGUF's blocks of 17 bytes. \param codes, scales of the whole matrix.
void join_mxfp4_row(std::span<const std::byte> codes, std::span<const std::byte> scales,
                    std::int64_t row, std::int64_t cols, std::byte* out);

}  // namespace quern::convert
