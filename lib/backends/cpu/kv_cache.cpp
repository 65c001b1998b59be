#include "backends/cpu/kv_cache.h"

#include <cstring>

namespace quern::backends::cpu {

Result<std::unique_ptr<SequenceState>> KvCache::create(const graph::Graph& graph, KvType type,
                                                       const SequenceSize& size) {
  SequenceLayout layout(graph, type, size);
  QUERN_TRY(memory, base::PageBuffer::allocate(layout.bytes(), base::Pages::kLarge));
  QUERN_TRY(source, base::PageBuffer::allocate(layout.source_bytes(), base::Pages::kLarge));
  auto shared = std::make_shared<SourceCache>();
  shared->memory = std::move(source);
  return std::unique_ptr<SequenceState>(
      new KvCache(std::move(layout), std::move(memory), std::move(shared)));
}

Status KvCache::rewind(std::int64_t position) {
  QUERN_CHECK(layout_.check_rewind(position));
  if (!rewinds()) std::memset(memory_.data(), 0, static_cast<std::size_t>(layout_.rolling_bytes()));
  return {};  // Positions are overwritten when they are written again; nothing after them is read.
}

Status KvCache::copy_from(const SequenceState& other, std::int64_t position) {
  const auto& theirs = static_cast<const KvCache&>(other);
  QUERN_CHECK(layout_.check_copy(theirs.layout_, position));
  source_ = theirs.source_;
  const std::uint64_t bytes = layout_.bytes_up_to(position);
  if (bytes > 0)
    std::memcpy(memory_.data(), theirs.memory_.data(), static_cast<std::size_t>(bytes));
  return {};
}

}  // namespace quern::backends::cpu
