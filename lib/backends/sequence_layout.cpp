#include "backends/sequence_layout.h"

#include <string>

namespace quern::backends {

SequenceLayout::SequenceLayout(const graph::Graph& graph, KvType type, const SequenceSize& size)
    : capacity_((size.positions + kernels::kKvBlock - 1) / kernels::kKvBlock * kernels::kKvBlock),
      type_(type) {
  layers_.reserve(graph.states.size());
  for (const graph::KvState& state : graph.states) {
    std::int64_t& span_bytes = state.source ? source_span_bytes_ : span_bytes_;
    const Layer layer{span_bytes, kernels::kv_key_block_bytes(type, state.head_dim),
                      kernels::kv_value_block_bytes(type, state.value_dim), state.source};
    span_bytes += state.n_kv_heads * kernels::kSpanBlocks * (layer.k_bytes + layer.v_bytes);
    layers_.push_back(layer);
  }
  source_bytes_ = static_cast<std::uint64_t>(spans_for(size.source) * source_span_bytes_);
  for (const graph::RollingState& state : graph.rolling) {
    rolling_.push_back(rolling_bytes_);
    rolling_bytes_ += (static_cast<std::uint64_t>(state.floats) * sizeof(float) + 63) / 64 * 64;
  }
}

SequenceLayout::Place SequenceLayout::place(graph::StateId state) const noexcept {
  const Layer& layer = layers_[static_cast<std::size_t>(state)];
  const std::int64_t k =
      layer.source ? layer.offset : static_cast<std::int64_t>(rolling_bytes_) + layer.offset;
  const std::int64_t block_bytes = layer.k_bytes + layer.v_bytes;
  return {k,
          k + layer.k_bytes,
          kernels::kSpanBlocks * block_bytes,
          block_bytes,
          layer.source ? source_span_bytes_ : span_bytes_,
          layer.source};
}

kernels::KvHead SequenceLayout::head(std::byte* base, std::byte* source, graph::StateId state,
                                     std::int64_t head) const noexcept {
  const Place its = place(state);
  std::byte* memory = (its.source ? source : base) + head * its.head_bytes;
  return {memory + its.k, memory + its.v, its.block_bytes, its.span_bytes};
}

Status SequenceLayout::check_rewind(std::int64_t position) const {
  if (position < 0 || position > capacity())
    return Error(ErrorCode::kOutOfRange, "a position lies outside the sequence").of("position");
  if (rolling_bytes_ > 0 && position > 0) {
    return Error(ErrorCode::kUnsupported, "a recurrent model cannot go back but to the beginning")
        .of("position")
        .want("0")
        .got(std::to_string(position));
  }
  return {};
}

Status SequenceLayout::check_copy(const SequenceLayout& other, std::int64_t position) const {
  if (position < 0 || position > capacity() || position > other.capacity() ||
      other.layers_.size() != layers_.size() || other.type_ != type_ ||
      other.span_bytes_ != span_bytes_ || other.rolling_bytes_ != rolling_bytes_ ||
      other.source_bytes_ != source_bytes_) {
    return Error(ErrorCode::kInvalidArgument, "the sequences do not fit together").of("copy_from");
  }
  return {};
}

}  // namespace quern::backends
