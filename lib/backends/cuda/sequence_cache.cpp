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

std::uint64_t address(const std::byte* pointer) noexcept {
  return reinterpret_cast<std::uint64_t>(pointer);
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

kernels::KvHead SequenceCache::head(graph::StateId state, std::int64_t index) const noexcept {
  return layout_.head(pointer(memory_), pointer(source_->memory), state, index);
}

SequenceRecord SequenceCache::record(std::int32_t first_row, std::int32_t end_row) const noexcept {
  return {pointer(memory_),
          layout_.source_bytes() > 0 ? pointer(source_->memory) : nullptr,
          layout_.blocks(),
          layout_.source_blocks(),
          first_row,
          end_row,
          static_cast<std::int32_t>(source_->rows),
          0};
}

Status SequenceCache::rewind(std::int64_t position) {
  QUERN_CHECK(layout_.check_rewind(position));
  const auto [begin, bytes] = layout_.rolling_part();
  if (bytes == 0) return {};  // Positions are overwritten when they are written again.
  QUERN_CHECK(stream_.zero(memory_.address() + begin, bytes));
  return stream_.synchronize();
}

Status SequenceCache::copy_blocks(const std::byte* to, const std::byte* from, std::int64_t bytes) {
  if (bytes == 0) return {};
  return stream_.copy(address(to), address(from), static_cast<std::uint64_t>(bytes));
}

Status SequenceCache::copy_from(const SequenceState& other, std::int64_t position) {
  const auto& theirs = static_cast<const SequenceCache&>(other);
  QUERN_CHECK(layout_.check_copy(theirs.layout_, position));
  const auto [rolling, rolling_bytes] = layout_.rolling_part();
  if (rolling_bytes > 0) {
    QUERN_CHECK(stream_.copy(memory_.address() + rolling,
                             theirs.memory_.address() + theirs.layout_.rolling_part().first,
                             rolling_bytes));
  }
  const std::int64_t blocks = SequenceLayout::blocks_for(position);
  for (std::size_t i = 0; i < layout_.states(); ++i) {
    const auto state = static_cast<graph::StateId>(i);
    if (layout_.is_source(state)) continue;
    for (std::int64_t h = 0; h < layout_.heads(state); ++h) {
      const kernels::KvHead to = head(state, h), from = theirs.head(state, h);
      QUERN_CHECK(copy_blocks(to.k, from.k, blocks * to.k_block_bytes));
      QUERN_CHECK(copy_blocks(to.v, from.v, blocks * to.v_block_bytes));
    }
  }
  QUERN_CHECK(stream_.synchronize());
  source_ = theirs.source_;
  return {};
}

}  // namespace quern::backends::cuda
