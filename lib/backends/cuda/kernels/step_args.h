/// \file
/// What kernels see of a step's rows: shared by the processor's side and the device's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quern::backends::cuda {

/// One sequence of a step: consecutive rows. Its memory is as SequenceLayout says.
struct SequenceRecord {
  std::byte* cache;                 ///< Keys, values and rolling states of the sequence.
  std::byte* source;                ///< Those of its source; nullptr: none.
  std::int32_t first_row, end_row;  ///< In the step.
  std::int32_t source_rows, reserved;
};

/// Arrays of one step on the device.
struct StepArrays {
  const std::int32_t* tokens;     ///< `[T]`
  const std::int32_t* positions;  ///< `[T]`
  const std::int32_t* lengths;    ///< `[T]`
  const std::int32_t* types;      ///< `[T]`
  const std::int32_t* sequence;   ///< `[T]`: the row's record.
  const std::int32_t* output_rows;
  const std::int32_t* starts;       ///< First row of each sequence, then T.
  const SequenceRecord* sequences;  ///< For graphs with states.
};

}  // namespace quern::backends::cuda
