/// \file
/// Keys, values and rolling states of one sequence on a device.
#pragma once

#include <memory>

#include "backends/cuda/buffers.h"
#include "backends/cuda/kernels/step_args.h"
#include "backends/cuda/stream.h"
#include "backends/sequence_layout.h"

namespace quern::backends::cuda {

/// Keys and values of a source, which several sequences may attend to.
struct SourceCache {
  DeviceBuffer memory;
  std::int64_t rows = 0;
};

/// Owns the memory of one sequence, taken and zeroed as a whole at the beginning. Where the model
/// has rolling states the sequence cannot go back but to its beginning, and is copied whole:
/// `copy_from`'s position must be the other's end. Every call returns when the device has done it.
class SequenceCache final : public SequenceState {
 public:
  static Result<std::unique_ptr<SequenceState>> create(const std::shared_ptr<Device>& device,
                                                       const graph::Graph& graph, KvType type,
                                                       const SequenceSize& size);

  std::int64_t capacity() const noexcept override { return layout_.capacity(); }
  std::uint64_t bytes() const noexcept override { return layout_.bytes() + layout_.source_bytes(); }
  bool rewinds() const noexcept override { return layout_.rolling_bytes() == 0; }
  Status rewind(std::int64_t position) override;
  Status copy_from(const SequenceState& other, std::int64_t position) override;
  void set_source_rows(std::int64_t rows) noexcept override { source_->rows = rows; }
  std::int64_t source_rows() const noexcept { return source_->rows; }

  /// What kernels need to find the sequence, whose rows of the step are [first_row, end_row).
  SequenceRecord record(std::int32_t first_row, std::int32_t end_row) const noexcept;

 private:
  SequenceCache(SequenceLayout layout, DeviceBuffer memory, std::shared_ptr<SourceCache> source,
                Stream stream)
      : layout_(std::move(layout)),
        memory_(std::move(memory)),
        source_(std::move(source)),
        stream_(std::move(stream)) {}

  SequenceLayout layout_;
  DeviceBuffer memory_;
  std::shared_ptr<SourceCache> source_;  ///< Never nullptr; empty for a graph without a source.
  Stream stream_;
};

}  // namespace quern::backends::cuda
