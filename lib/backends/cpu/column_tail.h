/// \file
/// What follows a matrix product column by column and is done by the thread that has just written
/// the columns, while they are in its cache.
#pragma once

#include <memory>

#include "backends/cpu/lowering.h"

namespace quern::backends::cpu {

class ColumnTail {
 public:
  virtual ~ColumnTail() = default;
  /// For all rows of columns [begin, end). `begin` is a multiple of a panel's rows. The thread's
  /// scratch, where a product may have laid out its rows, stays as it is.
  virtual void run(const StepContext& context, std::int64_t begin, std::int64_t end) const = 0;
};

/// A tail and the buffer that it writes.
struct TakenTail {
  std::unique_ptr<const ColumnTail> tail;  ///< nullptr: none.
  BufferId out = -1;
};

/// Lowers the causal convolution that alone reads `x`, and the activation that alone reads the
/// convolution, together with the product that is being lowered into `x`; none where there is none.
TakenTail take_convolution(Lowering& lowering, graph::ValueId x);

}  // namespace quern::backends::cpu
