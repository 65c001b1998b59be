/// \file
/// Keys and values of one sequence, for all layers.
#pragma once

#include <memory>
#include <utility>

#include "backends/sequence_layout.h"
#include "base/page_buffer.h"

namespace quern::backends::cpu {

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
  bool rewinds() const noexcept override { return layout_.rolling_bytes() == 0; }
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
  KvCache(SequenceLayout layout, base::PageBuffer memory, std::shared_ptr<SourceCache> source)
      : layout_(std::move(layout)), memory_(std::move(memory)), source_(std::move(source)) {}

  SequenceLayout layout_;
  base::PageBuffer memory_;
  std::shared_ptr<SourceCache> source_;  ///< Never nullptr; empty for a graph without a source.
};

}  // namespace quern::backends::cpu
