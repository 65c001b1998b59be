/// \file
/// Hash tables and tries as they are written into images. Private to the builder.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "quern/result.h"
#include "text/tokenizer/image.h"

namespace quern::text {

/// Open addressing with linear probing, filled in order; remembers the longest probe.
class SlotTable {
 public:
  /// Room for `entries`, at most half full.
  explicit SlotTable(std::size_t entries);
  void add(std::uint64_t hash, std::uint32_t value);
  const std::vector<std::uint32_t>& slots() const noexcept { return slots_; }
  std::uint32_t longest_probe() const noexcept { return longest_probe_; }

 private:
  std::vector<std::uint32_t> slots_;
  std::uint32_t longest_probe_ = 0;
};

/// A byte trie that grows by insertion.
class TrieBuilder {
 public:
  TrieBuilder();
  /// A later value replaces an earlier one. Errors: kLimit.
  Status add(std::string_view key, std::int32_t value);
  /// Writes the edge table. \return its longest probe.
  std::uint32_t finish(std::vector<std::uint64_t>& edges, std::vector<std::int32_t>& values) const;

 private:
  struct Edge {
    std::uint32_t first_child = 0, next_sibling = 0;
    std::int32_t value = -1;
    unsigned char byte = 0;
  };
  std::vector<Edge> nodes_;
};

}  // namespace quern::text
