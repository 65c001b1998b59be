#include "text/tokenizer/image_tables.h"

#include <algorithm>
#include <bit>

namespace quern::text {

SlotTable::SlotTable(std::size_t entries) {
  if (entries > 0) slots_.assign(std::bit_ceil(entries * 2), 0);
}

void SlotTable::add(std::uint64_t hash, std::uint32_t value) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = hash & mask;
  std::uint32_t probe = 0;
  while (slots_[slot] != 0) {
    slot = (slot + 1) & mask;
    ++probe;
  }
  slots_[slot] = value;
  longest_probe_ = std::max(longest_probe_, probe);
}

TrieBuilder::TrieBuilder() { nodes_.emplace_back(); }

Status TrieBuilder::add(std::string_view key, std::int32_t value) {
  std::uint32_t node = 0;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    std::uint32_t child = nodes_[node].first_child;
    while (child != 0 && nodes_[child].byte != byte) child = nodes_[child].next_sibling;
    if (child == 0) {
      if (nodes_.size() >= image::kMaxTrieNodes) {
        return Error(ErrorCode::kLimit, "the vocabulary needs too large a trie")
            .want("at most 16777216 nodes");
      }
      child = static_cast<std::uint32_t>(nodes_.size());
      Edge edge;
      edge.byte = byte;
      edge.next_sibling = nodes_[node].first_child;
      nodes_[node].first_child = child;
      nodes_.push_back(edge);
    }
    node = child;
  }
  nodes_[node].value = value;
  return {};
}

std::uint32_t TrieBuilder::finish(std::vector<std::uint64_t>& edges,
                                  std::vector<std::int32_t>& values) const {
  edges.clear();
  values.clear();
  if (nodes_.size() == 1) return 0;
  edges.assign(std::bit_ceil(nodes_.size() * 2), 0);
  const std::size_t mask = edges.size() - 1;
  std::uint32_t longest = 0;
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    values.push_back(nodes_[node].value);
    for (std::uint32_t child = nodes_[node].first_child; child != 0;
         child = nodes_[child].next_sibling) {
      const std::uint32_t key = image::edge_key(node, nodes_[child].byte);
      std::size_t slot = image::hash_pair(key, 0) & mask;
      std::uint32_t probe = 0;
      while (edges[slot] != 0) {
        slot = (slot + 1) & mask;
        ++probe;
      }
      edges[slot] = (static_cast<std::uint64_t>(child) << 32) | key;
      longest = std::max(longest, probe);
    }
  }
  return longest;
}

}  // namespace quern::text
