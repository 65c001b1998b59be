/// \file
/// Keys and values of one sequence, for all layers.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "base/page_buffer.h"
#include "kernels/kernel_table.h"

namespace quern::backends::cpu {

/// Where the layers' heads lie in a cache of a given size; shared arithmetic of planning and use.
/// States of the source lie in a memory of their own.
class KvLayout {
 public:
  /// \param size rounded up to whole blocks of 64.
  KvLayout(const graph::Graph& graph, KvType type, const SequenceSize& size);

  std::int64_t capacity() const noexcept { return blocks_ * kernels::kKvBlock; }
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

 private:
  struct Layer {
    std::uint64_t offset;
    std::int64_t heads, blocks, k_block_bytes, v_block_bytes;
    bool source;
  };
  std::vector<Layer> layers_;
  std::vector<std::uint64_t> rolling_;
  std::uint64_t rolling_begin_ = 0;
  std::int64_t blocks_;
  std::uint64_t bytes_ = 0, source_bytes_ = 0;
  KvType type_;
};

/// Keys and values of a source, which several sequences may attend to.
struct SourceCache {
  base::PageBuffer memory;
  std::int64_t rows = 0;
};

/// Owns the memory of one sequence: pages are taken when positions are first written. Where the
/// model has rolling states the sequence cannot go back but to its beginning, and is copied whole:
/// `copy_from`'s position must be the other's end.
class KvCache final : public SequenceState {
 public:
  static Result<std::unique_ptr<SequenceState>> create(const graph::Graph& graph, KvType type,
                                                       const SequenceSize& size);

  std::int64_t capacity() const noexcept override { return layout_.capacity(); }
  std::uint64_t bytes() const noexcept override { return layout_.bytes() + layout_.source_bytes(); }
  bool rewinds() const noexcept override { return layout_.rolling_part().second == 0; }
  Status rewind(std::int64_t position) override;
  Status copy_from(const SequenceState& other, std::int64_t position) override;
  void set_source_rows(std::int64_t rows) noexcept override { source_->rows = rows; }
  std::int64_t source_rows() const noexcept { return source_->rows; }

  kernels::KvHead head(graph::StateId state, std::int64_t index) const noexcept {
    return layout_.head(memory_.data(), source_->memory.data(), state, index);
  }
  float* rolling(graph::StateId state) const noexcept {
    return layout_.rolling(memory_.data(), state);
  }

 private:
  KvCache(KvLayout layout, base::PageBuffer memory, std::shared_ptr<SourceCache> source)
      : layout_(std::move(layout)), memory_(std::move(memory)), source_(std::move(source)) {}

  KvLayout layout_;
  base::PageBuffer memory_;
  std::shared_ptr<SourceCache> source_;  ///< Never nullptr; empty for a graph without a source.
};

}  // namespace quern::backends::cpu
