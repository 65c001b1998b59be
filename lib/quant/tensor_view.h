/// \file
/// A tensor where it lies: in the mapped file, or in memory of the caller.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quern/encoding.h"

namespace quern::quant {

/// A view of a matrix `[rows, cols]`, or of `batch` such matrices one after the other (experts).
/// A vector has rows == 1. Owns nothing; valid as long as the bytes are. Data are 64-byte aligned.
struct TensorView {
  Encoding encoding = Encoding::kF32;
  Layout layout = Layout::kPlain;
  std::int64_t batch = 1;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* data = nullptr;

  bool empty() const noexcept { return data == nullptr; }
  const float* f32() const noexcept { return reinterpret_cast<const float*>(data); }
};

}  // namespace quern::quant
