#include "backends/cpu/kv_cache.h"

#include <cstring>

namespace quern::backends::cpu {

Result<std::unique_ptr<SequenceState>> KvCache::create(const graph::Graph& graph, KvType type,
                                                       const SequenceSize& size) {
  SequenceLayout layout(graph, type, size);
  QUERN_TRY(memory, base::PageBuffer::allocate(layout.bytes()));
  QUERN_TRY(source, base::PageBuffer::allocate(layout.source_bytes()));
  auto shared = std::make_shared<SourceCache>();
  shared->memory = std::move(source);
  return std::unique_ptr<SequenceState>(
      new KvCache(std::move(layout), std::move(memory), std::move(shared)));
}

Status KvCache::rewind(std::int64_t position) {
  QUERN_CHECK(layout_.check_rewind(position));
  const auto [begin, bytes] = layout_.rolling_part();
  if (bytes > 0) std::memset(memory_.data() + begin, 0, static_cast<std::size_t>(bytes));
  return {};  // Positions are overwritten when they are written again; nothing after them is read.
}

Status KvCache::copy_from(const SequenceState& other, std::int64_t position) {
  const auto& theirs = static_cast<const KvCache&>(other);
  QUERN_CHECK(layout_.check_copy(theirs.layout_, position));
  const auto [rolling, rolling_bytes] = layout_.rolling_part();
  source_ = theirs.source_;
  std::memcpy(memory_.data() + rolling, theirs.memory_.data() + theirs.layout_.rolling_part().first,
              static_cast<std::size_t>(rolling_bytes));
  const std::int64_t blocks = SequenceLayout::blocks_for(position);
  for (std::size_t i = 0; i < layout_.states(); ++i) {
    const auto state = static_cast<graph::StateId>(i);
    if (layout_.is_source(state)) continue;
    for (std::int64_t h = 0; h < layout_.heads(state); ++h) {
      const kernels::KvHead to = head(state, h);
      const kernels::KvHead from = theirs.head(state, h);
      std::memcpy(to.k, from.k, static_cast<std::size_t>(blocks * to.k_block_bytes));
      std::memcpy(to.v, from.v, static_cast<std::size_t>(blocks * to.v_block_bytes));
    }
  }
  return {};
}

}  // namespace quern::backends::cpu
