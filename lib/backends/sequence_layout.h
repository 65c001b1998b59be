/// \file
/// Where keys, values and rolling states of a sequence lie in memory: the same for every backend.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "kernels/kernel_table.h"

namespace quern::backends {

/// Where all of a sequence lies; shared arithmetic of planning and use. First the rolling states,
/// then span after span of 256 positions, each with the four blocks of every head of every layer,
/// a block's keys before its values. So nothing moves with the capacity; memory fills from its
/// beginning as the sequence grows, in whole large pages where the machine has them; a layer reads
/// a span of all heads as one stream; and a copy is one piece. States of the source lie in a memory
/// of their own, laid out alike.
class SequenceLayout {
 public:
  /// \param size rounded up to whole blocks of 64 positions.
  SequenceLayout(const graph::Graph& graph, KvType type, const SequenceSize& size);

  std::int64_t capacity() const noexcept { return capacity_; }
  std::uint64_t bytes() const noexcept { return bytes_up_to(capacity()); }
  std::uint64_t source_bytes() const noexcept { return source_bytes_; }
  KvType type() const noexcept { return type_; }

  /// Bytes from the beginning on that hold the rolling states and the first positions.
  std::uint64_t bytes_up_to(std::int64_t positions) const noexcept {
    return rolling_bytes_ + static_cast<std::uint64_t>(spans_for(positions) * span_bytes_);
  }
  /// Those of the rolling states alone.
  std::uint64_t rolling_bytes() const noexcept { return rolling_bytes_; }

  /// Where the heads of a KV state lie in its memory, the sequence's own or its source's.
  struct Place {
    std::int64_t k, v;         ///< Bytes before the first block of head 0.
    std::int64_t head_bytes;   ///< From a head to the next.
    std::int64_t block_bytes;  ///< From a block of a span to the next.
    std::int64_t span_bytes;   ///< From a span to the next.
    bool source;
  };
  Place place(graph::StateId state) const noexcept;
  /// Bytes before a rolling state.
  std::uint64_t rolling_offset(graph::StateId state) const noexcept {
    return rolling_[static_cast<std::size_t>(state)];
  }
  /// A head in memory that begins at `base`, or at `source` where the state is the source's.
  kernels::KvHead head(std::byte* base, std::byte* source, graph::StateId state,
                       std::int64_t head) const noexcept;
  float* rolling(std::byte* base, graph::StateId state) const noexcept {
    return reinterpret_cast<float*>(base + rolling_offset(state));
  }

  /// Whether a sequence may forget positions ≥ `position`: kOutOfRange outside of it, kUnsupported
  /// where rolling states can only go back to the beginning.
  Status check_rewind(std::int64_t position) const;
  /// Whether positions 0 … position − 1 of a sequence laid out as `other` can be copied into one of
  /// this layout: kInvalidArgument.
  Status check_copy(const SequenceLayout& other, std::int64_t position) const;

 private:
  struct Layer {
    std::int64_t offset;  ///< In a span.
    std::int64_t k_bytes, v_bytes;
    bool source;
  };

  static std::int64_t spans_for(std::int64_t positions) noexcept {
    constexpr std::int64_t kSpan = kernels::kSpanBlocks * kernels::kKvBlock;
    return (positions + kSpan - 1) / kSpan;
  }

  std::vector<Layer> layers_;
  std::vector<std::uint64_t> rolling_;
  std::uint64_t rolling_bytes_ = 0, source_bytes_ = 0;
  std::int64_t capacity_, span_bytes_ = 0, source_span_bytes_ = 0;
  KvType type_;
};

}  // namespace quern::backends
