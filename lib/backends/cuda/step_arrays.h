/// \file
/// What a step says of its rows, on its way to the device.
#pragma once

#include "backends/backend.h"
#include "backends/cuda/buffers.h"
#include "backends/cuda/kernels/step_args.h"
#include "backends/cuda/stream.h"

namespace quern::backends::cuda {

/// The arrays of a program's steps: one piece of pinned memory and one on the device. Where each
/// array lies depends on the step's number of rows alone, so that recorded work finds it, and no
/// more is sent than the step has.
class StepArraysBuffer {
 public:
  static Result<StepArraysBuffer> create(Device& device, std::int64_t max_rows);
  /// Bytes of the arrays of `rows` rows.
  static std::uint64_t bytes(std::int64_t rows) noexcept;

  /// What was seen of a step on the way.
  struct Extent {
    std::int64_t end = 0;        ///< One past the largest position or row of a source that is seen.
    std::int64_t sequences = 0;  ///< Those with a cache, or those that begin in the step.
  };
  /// Writes the arrays of `step` down. \pre what was sent before has arrived.
  Extent write(const StepBinding& step) noexcept;
  /// Sends what was written of a step of `rows` rows.
  Status send(Stream& stream, std::int64_t rows) const;
  std::uint64_t size() const noexcept { return device_.size(); }
  /// On the device, of a step of `rows` rows.
  StepArrays arrays(std::int64_t rows) const noexcept;

 private:
  PinnedBuffer host_;
  DeviceBuffer device_;
};

}  // namespace quern::backends::cuda
