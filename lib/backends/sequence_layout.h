/// \file
/// Where keys, values and rolling states of a sequence lie in memory: the same for every backend.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "kernels/kernel_table.h"

namespace quern::backends {

/// Where the layers' heads lie in a cache of a given size; shared arithmetic of planning and use.
/// States of the source lie in a memory of their own. All heads of a state have the same number of
/// blocks, so a state begins at (its block_offset) · blocks, whatever the capacity.
class SequenceLayout {
 public:
  /// \param size rounded up to whole blocks of 64.
  SequenceLayout(const graph::Graph& graph, KvType type, const SequenceSize& size);

  std::int64_t capacity() const noexcept { return blocks_ * kernels::kKvBlock; }
  /// Blocks of every head: of the sequence's own states and of its source's.
  std::int64_t blocks() const noexcept { return blocks_; }
  std::int64_t source_blocks() const noexcept { return source_blocks_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  std::uint64_t source_bytes() const noexcept { return source_bytes_; }
  KvType type() const noexcept { return type_; }

  /// Blocks of `head` of state `state` in memory that begins at `base`, or at `source` where the
  /// state is the source's.
  kernels::KvHead head(std::byte* base, std::byte* source, graph::StateId state,
                       std::int64_t head) const noexcept;
  /// Numbers of rolling state `state`.
  float* rolling(std::byte* base, graph::StateId state) const noexcept {
    return reinterpret_cast<float*>(base + rolling_[static_cast<std::size_t>(state)]);
  }
  /// Where all of them lie, at the end: {offset, bytes}; none: 0 bytes.
  std::pair<std::uint64_t, std::uint64_t> rolling_part() const noexcept {
    return {rolling_begin_, bytes_ - rolling_begin_};
  }
  std::size_t states() const noexcept { return layers_.size(); }
  bool is_source(graph::StateId state) const noexcept {
    return layers_[static_cast<std::size_t>(state)].source;
  }
  std::int64_t heads(graph::StateId state) const noexcept {
    return layers_[static_cast<std::size_t>(state)].heads;
  }
  /// Bytes per block of everything that lies before a state in the same memory.
  std::int64_t block_offset(graph::StateId state) const noexcept {
    return layers_[static_cast<std::size_t>(state)].block_offset;
  }
  /// The same of all states of the sequence's own: the rolling states begin at that · blocks.
  std::int64_t block_bytes() const noexcept { return block_bytes_; }
  /// Where a rolling state begins among all of them.
  std::uint64_t rolling_offset(graph::StateId state) const noexcept {
    return rolling_[static_cast<std::size_t>(state)] - rolling_begin_;
  }
  /// Whether a sequence may forget positions ≥ `position`: kOutOfRange outside of it, kUnsupported
  /// where rolling states can only go back to the beginning.
  Status check_rewind(std::int64_t position) const;
  /// Whether positions 0 … position − 1 of a sequence laid out as `other` can be copied into one of
  /// this layout: kInvalidArgument.
  Status check_copy(const SequenceLayout& other, std::int64_t position) const;

  static std::int64_t blocks_for(std::int64_t positions) noexcept {
    return (positions + kernels::kKvBlock - 1) / kernels::kKvBlock;
  }

 private:
  struct Layer {
    std::int64_t block_offset;
    std::int64_t heads, blocks, k_block_bytes, v_block_bytes;
    bool source;
  };
  std::vector<Layer> layers_;
  std::vector<std::uint64_t> rolling_;
  std::uint64_t rolling_begin_ = 0;
  std::int64_t blocks_, source_blocks_, block_bytes_ = 0;
  std::uint64_t bytes_ = 0, source_bytes_ = 0;
  KvType type_;
};

}  // namespace quern::backends
