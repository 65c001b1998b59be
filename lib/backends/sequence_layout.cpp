#include "backends/sequence_layout.h"

#include <string>

namespace quern::backends {

SequenceLayout::SequenceLayout(const graph::Graph& graph, KvType type, const SequenceSize& size)
    : blocks_(blocks_for(size.positions)), source_blocks_(blocks_for(size.source)), type_(type) {
  layers_.reserve(graph.states.size());
  std::int64_t source_block_bytes = 0;
  for (const graph::KvState& state : graph.states) {
    std::int64_t& before = state.source ? source_block_bytes : block_bytes_;
    const Layer layer{before,
                      state.n_kv_heads,
                      state.source ? source_blocks_ : blocks_,
                      kernels::kv_key_block_bytes(type, state.head_dim),
                      kernels::kv_value_block_bytes(type, state.value_dim),
                      state.source};
    before += layer.heads * (layer.k_block_bytes + layer.v_block_bytes);
    layers_.push_back(layer);
  }
  source_bytes_ = static_cast<std::uint64_t>(source_block_bytes * source_blocks_);
  bytes_ = static_cast<std::uint64_t>(block_bytes_ * blocks_);
  rolling_begin_ = bytes_;
  for (const graph::RollingState& state : graph.rolling) {
    rolling_.push_back(bytes_);
    bytes_ += (static_cast<std::uint64_t>(state.floats) * sizeof(float) + 63) / 64 * 64;
  }
}

kernels::KvHead SequenceLayout::head(std::byte* base, std::byte* source, graph::StateId state,
                                     std::int64_t head) const noexcept {
  const Layer& layer = layers_[static_cast<std::size_t>(state)];
  const std::int64_t head_bytes = layer.blocks * (layer.k_block_bytes + layer.v_block_bytes);
  std::byte* k =
      (layer.source ? source : base) + layer.block_offset * layer.blocks + head * head_bytes;
  return {k, k + layer.blocks * layer.k_block_bytes, layer.k_block_bytes, layer.v_block_bytes};
}

Status SequenceLayout::check_rewind(std::int64_t position) const {
  if (position < 0 || position > capacity())
    return Error(ErrorCode::kOutOfRange, "a position lies outside the sequence").of("position");
  if (rolling_part().second > 0 && position > 0) {
    return Error(ErrorCode::kUnsupported, "a recurrent model cannot go back but to the beginning")
        .of("position")
        .want("0")
        .got(std::to_string(position));
  }
  return {};
}

Status SequenceLayout::check_copy(const SequenceLayout& other, std::int64_t position) const {
  if (position < 0 || position > capacity() || position > other.capacity() ||
      other.states() != states() || other.type() != type() ||
      other.rolling_part().second != rolling_part().second ||
      other.source_bytes() != source_bytes()) {
    return Error(ErrorCode::kInvalidArgument, "the sequences do not fit together").of("copy_from");
  }
  return {};
}

}  // namespace quern::backends
