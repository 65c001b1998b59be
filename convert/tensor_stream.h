/// \file
/// Streams one tensor after the other through a few panels of memory, in parallel, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "convert/panel_encoder.h"
#include "quern/executor.h"
#include "quern/model.h"
#include "quern/result.h"

namespace quern::convert {

/// Takes the next bytes of the current tensor.
using WriteBytes = std::function<Status(std::span<const std::byte>)>;

/// Counts source bytes and asks whether to go on. Thread rule: one owner.
class ProgressMeter {
 public:
  ProgressMeter(const Progress& progress, std::uint64_t total)
      : progress_(progress), total_(total) {}
  /// \return kCancelled where the callback said so.
  Status advance(std::uint64_t bytes);

 private:
  const Progress& progress_;
  std::uint64_t done_ = 0, total_;
};

/// Knows what was observed of the matrices of a plan. Thread rule: one thread; what it hands out
/// may be used by any.
class Calibration {
 public:
  virtual ~Calibration() = default;
  /// \return null where nothing was observed of the matrix's inputs. Cheapest where matrices are
  /// asked for in the order of the plan. Errors: the engine's; kCancelled.
  virtual Result<std::shared_ptr<const MatrixCalibration>> of(const MatrixJob& job,
                                                              ProgressMeter& meter) = 0;
  /// What the person should know, one sentence each.
  virtual const std::vector<std::string>& warnings() const noexcept = 0;
};

/// Encodes all panels of `job` and hands them to `write` in order, in pieces of a few MiB. The
/// bytes do not depend on the number of threads. Errors: PanelEncoder's (of the first row in
/// order), `write`'s, kCancelled, kOutOfMemory.
/// \param calibration may be null. \param error takes the tensor's; null: it is not computed.
Status stream_tensor(const TensorJob& job, Executor& executor, const WriteBytes& write,
                     ProgressMeter& meter, Calibration* calibration = nullptr,
                     QuantizationError* error = nullptr);

}  // namespace quern::convert
