/// \file
/// What a step says of its rows, on its way to the device.
#pragma once

#include "backends/backend.h"
#include "backends/cuda/buffers.h"
#include "backends/cuda/kernels/step_args.h"
#include "backends/cuda/stream.h"

namespace quern::backends::cuda {

/// The arrays of a program's steps: one piece of pinned memory and one on the device, at addresses
/// that never change, so that recorded launches find them.
class StepArraysBuffer {
 public:
  static Result<StepArraysBuffer> create(Device& device, std::int64_t max_rows);
  /// Bytes on the device.
  static std::uint64_t bytes(std::int64_t max_rows) noexcept;

  /// What was seen of a step on the way.
  struct Extent {
    std::int64_t end = 0;        ///< One past the largest position or row of a source that is seen.
    std::int64_t sequences = 0;  ///< Those with a cache, or those that begin in the step.
  };
  /// Writes the arrays of `step` down and sends them.
  Result<Extent> send(Stream& stream, const StepBinding& step);
  std::uint64_t size() const noexcept { return device_.size(); }
  StepArrays arrays() const noexcept { return arrays_at(device_.address()); }

 private:
  StepArrays arrays_at(std::uint64_t base) const noexcept;

  PinnedBuffer host_;
  DeviceBuffer device_;
  std::int64_t max_rows_ = 0;
};

}  // namespace quern::backends::cuda
