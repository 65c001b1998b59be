#include "backends/cuda/sequence_cache.h"

#include <utility>

namespace quern::backends::cuda {
namespace {

/// Device memory of zeros. Positions that were never written are never seen, but padding is read.
Result<DeviceBuffer> zeroed(Device& device, Stream& stream, std::uint64_t bytes) {
  QUERN_TRY(memory, device.allocate(bytes));
  if (bytes > 0) QUERN_CHECK(stream.zero(memory.address(), bytes));
  return memory;
}

std::byte* pointer(const DeviceBuffer& buffer) noexcept {
  return reinterpret_cast<std::byte*>(buffer.address());
}

}  // namespace

Result<std::unique_ptr<SequenceState>> SequenceCache::create(const std::shared_ptr<Device>& device,
                                                             const graph::Graph& graph, KvType type,
                                                             const SequenceSize& size) {
  SequenceLayout layout(graph, type, size);
  QUERN_TRY(stream, device->make_stream());
  QUERN_TRY(memory, zeroed(*device, stream, layout.bytes()));
  QUERN_TRY(source, zeroed(*device, stream, layout.source_bytes()));
  QUERN_CHECK(stream.synchronize());
  auto shared = std::make_shared<SourceCache>();
  shared->memory = std::move(source);
  return std::unique_ptr<SequenceState>(new SequenceCache(std::move(layout), std::move(memory),
                                                          std::move(shared), std::move(stream)));
}

SequenceRecord SequenceCache::record(std::int32_t first_row, std::int32_t end_row) const noexcept {
  return {pointer(memory_),
          layout_.source_bytes() > 0 ? pointer(source_->memory) : nullptr,
          first_row,
          end_row,
          static_cast<std::int32_t>(source_->rows),
          0};
}

Status SequenceCache::rewind(std::int64_t position) {
  QUERN_CHECK(layout_.check_rewind(position));
  if (rewinds()) return {};  // Positions are overwritten when they are written again.
  QUERN_CHECK(stream_.zero(memory_.address(), layout_.rolling_bytes()));
  return stream_.synchronize();
}

Status SequenceCache::copy_from(const SequenceState& other, std::int64_t position) {
  const auto& theirs = static_cast<const SequenceCache&>(other);
  QUERN_CHECK(layout_.check_copy(theirs.layout_, position));
  const std::uint64_t bytes = layout_.bytes_up_to(position);
  if (bytes > 0) QUERN_CHECK(stream_.copy(memory_.address(), theirs.memory_.address(), bytes));
  QUERN_CHECK(stream_.synchronize());
  source_ = theirs.source_;
  return {};
}

}  // namespace quern::backends::cuda
